"""The payment provider of the lab: says yes to every charge. SHOP_PAYMENT_PORT is its port."""

from __future__ import annotations

import os
import secrets

from flask import Flask, Response, jsonify
from waitress import serve


def create_app() -> Flask:
    """Charge and refund, as little as a provider needs."""
    app = Flask(__name__)

    @app.post("/charges")
    def charge() -> tuple[Response, int]:
        return jsonify(status="accepted", charge=secrets.token_hex(8)), 201

    @app.delete("/charges/<charge>")
    def refund(charge: str) -> tuple[Response, int]:
        return jsonify(status="refunded", charge=charge), 200

    return app


if __name__ == "__main__":
    serve(create_app(), host="127.0.0.1", port=int(os.environ["SHOP_PAYMENT_PORT"]), threads=2)
