"""The shop: a small service with everything a rollback has to bring back.

Its configuration comes from the environment: SHOP_PORT, SHOP_DATABASE (libpq's keywords),
SHOP_CACHE_PORT, SHOP_PAYMENT_URL, SHOP_FLAGS (flagd's file).
"""

from __future__ import annotations

import os
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, jsonify, request
from payments import CheckoutClosedError, Payments, PaymentUnavailableError
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from store import Store

RELEASE = (Path(__file__).parent / "VERSION").read_text(encoding="ascii").strip()

_REQUESTS = Counter("http_requests_total", "Requests answered.", ["method", "status"])
_SECONDS = Histogram("http_request_duration_seconds", "Time to answer.", ["method"])
_INFO = Gauge("shop_release_info", "1 for the release that runs.", ["release"])


def create_app() -> Flask:
    """The application, connected to what its environment names."""
    app = Flask(__name__)
    store = Store(os.environ["SHOP_DATABASE"], int(os.environ["SHOP_CACHE_PORT"]))
    payments = Payments(
        url=os.environ["SHOP_PAYMENT_URL"],
        cache_port=int(os.environ["SHOP_CACHE_PORT"]),
        flags=os.environ["SHOP_FLAGS"],
    )
    _INFO.labels(RELEASE).set(1)
    _measure(app)
    _read_routes(app, store)
    _write_routes(app, store, payments)
    return app


def _measure(app: Flask) -> None:
    @app.before_request
    def started() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def answered(response: Response) -> Response:
        _REQUESTS.labels(request.method, response.status_code).inc()
        _SECONDS.labels(request.method).observe(time.perf_counter() - g.started)
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def _read_routes(app: Flask, store: Store) -> None:
    @app.get("/health")
    def health() -> tuple[Response, int]:
        problems = store.problems()
        body: dict[str, Any] = {"status": "failing" if problems else "ok", "release": RELEASE}
        if problems:
            return jsonify(body | {"problems": problems}), HTTPStatus.SERVICE_UNAVAILABLE
        return jsonify(body | {"schema": store.schema_version()}), HTTPStatus.OK

    @app.get("/orders/<int:number>")
    def order(number: int) -> tuple[Response, int]:
        found = store.order(number)
        return (jsonify(found), HTTPStatus.OK) if found else _missing("order", number)

    @app.get("/products/<int:number>")
    def product(number: int) -> tuple[Response, int]:
        found = store.product(number)
        return (jsonify(found), HTTPStatus.OK) if found else _missing("product", number)


def _write_routes(app: Flask, store: Store, payments: Payments) -> None:
    @app.post("/login")
    def login() -> tuple[Response, int]:
        token = store.open_session(int(_field("customer")))
        return jsonify(token=token), HTTPStatus.CREATED

    @app.post("/checkout")
    def checkout() -> tuple[Response, int]:
        try:
            basket = store.price(int(_field("product")), int(_field("quantity")))
            payments.charge(int(_field("customer")), basket.total)
        except CheckoutClosedError:
            return jsonify(error="checkout is closed for the moment"), HTTPStatus.ACCEPTED
        except PaymentUnavailableError as error:
            return jsonify(error=str(error)), HTTPStatus.SERVICE_UNAVAILABLE
        number = store.place_order(int(_field("customer")), basket)
        return jsonify(order=number, total=str(basket.total)), HTTPStatus.CREATED


def _field(name: str) -> Any:
    return (request.get_json(silent=True) or {}).get(name, 1)


def _missing(what: str, number: int) -> tuple[Response, int]:
    return jsonify(error=f"there is no {what} {number}"), HTTPStatus.NOT_FOUND


if __name__ == "__main__":
    from waitress import serve

    serve(create_app(), host="127.0.0.1", port=int(os.environ["SHOP_PORT"]), threads=8)
