"""Orders and products in PostgreSQL; sessions and a product cache in Valkey."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pricing
import psycopg
import redis
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

_CACHE_SECONDS = 3600
_SESSION_SECONDS = 86400
_TIMEOUT_SECONDS = 5
# psycopg_pool tries again after a whole second unless it may give up sooner; a request that comes
# after it gave up makes it try at once.
_RECONNECT_SECONDS = 0.1


@dataclass(frozen=True)
class Basket:
    """What a customer is about to buy."""

    product: int
    quantity: int
    price: Decimal

    @property
    def total(self) -> Decimal:
        return self.price * self.quantity


class Store:
    """Checks a connection before it is used: the database behind it may have been swapped."""

    def __init__(self, conninfo: str, cache_port: int, *, connections: tuple[int, int]) -> None:
        """``connections``: how many are held at least, and opened at most."""
        self._pool: ConnectionPool[psycopg.Connection[dict[str, Any]]] = ConnectionPool(
            conninfo,
            kwargs={"autocommit": True, "row_factory": dict_row},
            check=self._check,
            min_size=connections[0],
            max_size=connections[1],
            timeout=_TIMEOUT_SECONDS,
            reconnect_timeout=_RECONNECT_SECONDS,
            open=True,
        )
        self._cache = redis.Redis(
            port=cache_port, socket_timeout=_TIMEOUT_SECONDS, decode_responses=True
        )

    def problems(self) -> list[str]:
        """What does not answer."""
        found = []
        try:
            self.schema_version()
        except psycopg.Error as error:
            found.append(f"database: {str(error).splitlines()[0]}")
        try:
            self._cache.ping()
        except redis.RedisError as error:
            found.append(f"cache: {error}")
        return found

    def schema_version(self) -> int:
        """The newest migration that was applied."""
        row = self.one("SELECT max(version) AS version FROM schema_migrations")
        return int(row["version"]) if row else 0

    def order(self, number: int) -> dict[str, Any] | None:
        """An order with its lines, and what its customer saves."""
        row = self.one(
            "SELECT o.id, o.status, o.total, c.name AS customer, c.loyalty_tier"
            " FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = %s",
            number,
        )
        if row is None:
            return None
        lines = self.all(
            "SELECT product_id, quantity, price FROM order_lines WHERE order_id = %s", number
        )
        discount = pricing.loyalty_discount(row["total"], row.pop("loyalty_tier"))
        return {
            **row,
            "total": str(row["total"]),
            "saved": str(discount),
            "lines": [{**line, "price": str(line["price"])} for line in lines],
        }

    def product(self, number: int) -> dict[str, Any] | None:
        """A product as it is shown; from the cache when it is there."""
        key = f"product:{number}"
        with suppress(redis.RedisError):
            cached = self._cache.get(key)
            if cached is not None:
                found: dict[str, Any] = json.loads(str(cached))
                return found
        row = self.one("SELECT id, name, price FROM products WHERE id = %s", number)
        if row is None:
            return None
        shown = {**row, "price": str(pricing.shown_price(row["price"]))}
        # Without its cache the shop is slower, not closed.
        with suppress(redis.RedisError):
            self._cache.set(key, json.dumps(shown), ex=_CACHE_SECONDS)
        return shown

    def is_customer(self, customer: int, email: str) -> bool:
        """Whether number and address belong together."""
        query = "SELECT 1 FROM customers WHERE id = %s AND email = %s"
        return self.one(query, customer, email) is not None

    def open_session(self, customer: int) -> str:
        """A token for this customer."""
        token = secrets.token_urlsafe(16)
        self._cache.set(f"session:{token}", customer, ex=_SESSION_SECONDS)
        return token

    def session(self, token: str) -> int | None:
        """The customer who opened this session, or None when there is no such session."""
        customer = self._cache.get(f"session:{token}")
        return None if customer is None else int(str(customer))

    def price(self, product: int, quantity: int) -> Basket | None:
        """A basket at the shown price, or None when there is no such product."""
        row = self.one("SELECT price FROM products WHERE id = %s", product)
        if row is None:
            return None
        price = pricing.shown_price(row["price"])
        return Basket(product=product, quantity=quantity, price=price)

    def place_order(self, customer: int, basket: Basket) -> int:
        """Write the order and its line in one transaction; returns its number."""
        with self._pool.connection() as connection, connection.transaction():
            row = connection.execute(
                "INSERT INTO orders (customer_id, status, total) VALUES (%s, 'paid', %s)"
                " RETURNING id",
                (customer, basket.total),
            ).fetchone()
            number = int(row["id"]) if row else 0
            connection.execute(
                "INSERT INTO order_lines (order_id, product_id, quantity, price)"
                " VALUES (%s, %s, %s, %s)",
                (number, basket.product, basket.quantity, basket.price),
            )
        return number

    def _check(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        """Where one connection is dead, the others probably are: all are replaced at once."""
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.Error:
            self._pool.check()
            raise

    def one(self, query: str, *values: object) -> dict[str, Any] | None:
        """The first row, or None."""
        rows = self.all(query, *values)
        return rows[0] if rows else None

    def all(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Every row."""
        with self._pool.connection() as connection:
            return connection.execute(query, values).fetchall()
