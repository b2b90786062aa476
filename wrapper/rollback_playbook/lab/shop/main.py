"""The shop: a small service with everything a rollback has to bring back.

Its configuration comes from the environment: SHOP_PORT, SHOP_DATABASE (libpq's keywords),
SHOP_CACHE_PORT, SHOP_PAYMENT_URL, SHOP_FLAGS (flagd's file), SHOP_THREADS, SHOP_POOL_MIN,
SHOP_POOL_MAX, SHOP_MEMORY_LIMIT_MB (told on the metrics page, for whoever watches).
"""

from __future__ import annotations

import os
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg
from accounts import Accounts
from flags import CHECKOUT, RATE_LIMITING, RECOMMENDATIONS, Flags
from flask import Flask, Response, abort, g, jsonify, request
from payments import Payments, PaymentUnavailableError
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from rate_limit import RateLimit
from recommendations import bought_together
from store import Basket, Store
from werkzeug.exceptions import HTTPException

RELEASE = (Path(__file__).parent / "VERSION").read_text(encoding="ascii").strip()

_TOO_MANY = 1_000_000
_COSTLY_PER_SECOND = 5

_REQUESTS = Counter("http_requests_total", "Requests answered.", ["method", "status"])
_SECONDS = Histogram("http_request_duration_seconds", "Time to answer.", ["method"])
_BUSY = Gauge("http_requests_in_progress", "Requests that a thread is answering now.")
_INFO = Gauge("shop_release_info", "1 for the release that runs.", ["release"])
_LIMIT = Gauge("shop_memory_limit_bytes", "Resident memory that the shop was given.")


def create_app() -> Flask:
    """The application, connected to what its environment names."""
    app = Flask(__name__)
    cache_port = int(os.environ["SHOP_CACHE_PORT"])
    connections = (int(os.environ["SHOP_POOL_MIN"]), int(os.environ["SHOP_POOL_MAX"]))
    store = Store(os.environ["SHOP_DATABASE"], cache_port, connections=connections)
    flags = Flags(os.environ["SHOP_FLAGS"])
    payments = Payments(url=os.environ["SHOP_PAYMENT_URL"], cache_port=cache_port)
    _INFO.labels(RELEASE).set(1)
    _LIMIT.set(int(os.environ["SHOP_MEMORY_LIMIT_MB"]) * 2**20)
    _measure(app)
    _watch_routes(app, store)
    _read_routes(app, store)
    _costly_routes(
        app, store, flags, RateLimit(cache_port=cache_port, per_second=_COSTLY_PER_SECOND)
    )
    _write_routes(app, store, _Checkout(store, payments, flags))
    app.register_error_handler(HTTPException, _in_words)
    return app


def _measure(app: Flask) -> None:
    @app.before_request
    def started() -> None:
        g.started = time.perf_counter()
        _BUSY.inc()

    @app.after_request
    def answered(response: Response) -> Response:
        _REQUESTS.labels(request.method, response.status_code).inc()
        _SECONDS.labels(request.method).observe(time.perf_counter() - g.started)
        return response

    @app.teardown_request
    def ended(_error: BaseException | None) -> None:
        _BUSY.dec()


def _watch_routes(app: Flask, store: Store) -> None:
    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    @app.get("/health")
    def health() -> tuple[Response, int]:
        problems = store.problems()
        body: dict[str, Any] = {"status": "failing" if problems else "ok", "release": RELEASE}
        if problems:
            return jsonify(body | {"problems": problems}), HTTPStatus.SERVICE_UNAVAILABLE
        return jsonify(body | {"schema": store.schema_version()}), HTTPStatus.OK


def _read_routes(app: Flask, store: Store) -> None:
    accounts = Accounts(store)

    @app.get("/account")
    def account() -> tuple[Response, int]:
        found = accounts.page(_token())
        if found is None:
            abort(HTTPStatus.UNAUTHORIZED, "log in first")
        return jsonify(found), HTTPStatus.OK

    @app.get("/orders/<int:number>")
    def order(number: int) -> tuple[Response, int]:
        found = store.order(number)
        return (jsonify(found), HTTPStatus.OK) if found else _missing("order", number)

    @app.get("/products/<int:number>")
    def product(number: int) -> tuple[Response, int]:
        found = store.product(number)
        return (jsonify(found), HTTPStatus.OK) if found else _missing("product", number)


def _costly_routes(app: Flask, store: Store, flags: Flags, limit: RateLimit) -> None:
    @app.get("/products/<int:number>/recommendations")
    def recommendations(number: int) -> tuple[Response, int]:
        if not flags.is_on(RECOMMENDATIONS):
            return jsonify(products=[]), HTTPStatus.OK
        address = request.headers.get("X-Real-IP", request.remote_addr or "")
        if flags.is_on(RATE_LIMITING) and not limit.allows(address):
            return jsonify(error="ask less often"), HTTPStatus.TOO_MANY_REQUESTS
        return jsonify(products=bought_together(store, number)), HTTPStatus.OK


def _write_routes(app: Flask, store: Store, checkout: _Checkout) -> None:
    @app.post("/login")
    def login() -> tuple[Response, int]:
        customer = _number("customer")
        if not store.is_customer(customer, str(_body().get("email"))):
            abort(HTTPStatus.UNAUTHORIZED, "there is no such customer")
        return jsonify(token=store.open_session(customer)), HTTPStatus.CREATED

    @app.post("/checkout")
    def buy() -> tuple[Response, int]:
        return checkout.answer()


class _Checkout:
    """Takes an order, or says at once and in words why not."""

    def __init__(self, store: Store, payments: Payments, flags: Flags) -> None:
        self._store = store
        self._payments = payments
        self._flags = flags

    def answer(self) -> tuple[Response, int]:
        """The answer to the present request."""
        if not self._flags.is_on(CHECKOUT):
            return jsonify(error="checkout is closed for the moment"), HTTPStatus.ACCEPTED
        customer = self._store.session(_token())
        if customer is None:
            abort(HTTPStatus.UNAUTHORIZED, "log in first")
        number = _number("product")
        basket = self._store.price(number, _number("quantity"))
        if basket is None:
            return _missing("product", number)
        try:
            order = self._buy(customer, basket)
        except PaymentUnavailableError as error:
            return jsonify(error=str(error)), HTTPStatus.SERVICE_UNAVAILABLE
        return jsonify(order=order, total=str(basket.total)), HTTPStatus.CREATED

    def _buy(self, customer: int, basket: Basket) -> int:
        """Nobody pays for an order that was not written."""
        charge = self._payments.charge(customer, basket.total)
        try:
            return self._store.place_order(customer, basket)
        except psycopg.Error:
            self._payments.refund(charge)
            raise


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True)
    return body if isinstance(body, dict) else {}


def _number(name: str) -> int:
    value = _body().get(name)
    if not isinstance(value, int) or not 0 < value < _TOO_MANY:
        abort(HTTPStatus.BAD_REQUEST, f"{name} is a whole number from 1 to {_TOO_MANY - 1}")
    return value


def _token() -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _missing(what: str, number: int) -> tuple[Response, int]:
    return jsonify(error=f"there is no {what} {number}"), HTTPStatus.NOT_FOUND


def _in_words(error: HTTPException) -> tuple[Response, int]:
    return jsonify(error=error.description), error.code or HTTPStatus.INTERNAL_SERVER_ERROR


if __name__ == "__main__":
    from waitress import serve

    threads = int(os.environ["SHOP_THREADS"])
    serve(create_app(), host="127.0.0.1", port=int(os.environ["SHOP_PORT"]), threads=threads)
