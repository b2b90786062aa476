"""Two databases as a backup's restore leaves them, for the tests of pg_salvage."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.real_servers import PostgresServer

_NUMBERS = itertools.count(1)

SHOP = """
CREATE TABLE customers (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL UNIQUE,
  name text,
  updated_at timestamptz DEFAULT '2026-01-01T00:00:00Z');
CREATE TABLE orders (
  id serial PRIMARY KEY,
  customer_id integer NOT NULL REFERENCES customers,
  total numeric(10, 2) NOT NULL,
  with_tax numeric(10, 2) GENERATED ALWAYS AS (total * 1.2) STORED);
CREATE TABLE order_lines (
  order_id integer REFERENCES orders ON DELETE CASCADE,
  line integer,
  product text,
  PRIMARY KEY (order_id, line));
CREATE TABLE audit (happened text);
INSERT INTO customers (email, name) SELECT 'c' || n || '@example.com', 'Customer ' || n
  FROM generate_series(1, 20) n;
INSERT INTO orders (customer_id, total) SELECT 1 + n % 20, n FROM generate_series(1, 100) n;
INSERT INTO order_lines SELECT n, 1, 'product ' || n FROM generate_series(1, 100) n;
INSERT INTO audit SELECT 'event ' || n FROM generate_series(1, 5) n;
"""

ORDERS_SINCE = """
INSERT INTO customers (email, name) VALUES ('new@example.com', 'New');
INSERT INTO orders (customer_id, total) SELECT 21, n FROM generate_series(1, 3) n;
INSERT INTO order_lines SELECT 100 + n, 1, NULL FROM generate_series(1, 3) n;
"""


@dataclass(frozen=True)
class Twins:
    """A database as users left it and the restored one, and how to ask either."""

    server: PostgresServer
    database: str
    reference: str

    def write(self, statements: str) -> None:
        """Users write to the database after the backup."""
        with self.server.connect(self.database) as connection:
            connection.execute(statements)

    def write_reference(self, statements: str) -> None:
        """Somebody writes to the restored database."""
        with self.server.connect(self.reference) as connection:
            connection.execute(statements)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the restored database holds."""
        with self.server.connect(self.reference) as connection:
            return connection.execute(query).fetchall()

    def args(self, **options: object) -> dict[str, object]:
        """The module's arguments."""
        named = {"database": self.database, "reference": self.reference}
        return {**self.server.login, **named, **options}


MakeTwins = Callable[[str], Twins]


@pytest.fixture
def make_twins(postgres_server: PostgresServer) -> Iterator[MakeTwins]:
    """``make_twins(sql)``: two databases that a backup's restore would leave, equal so far."""
    made: list[str] = []

    def make(statements: str) -> Twins:
        number = next(_NUMBERS)
        twins = Twins(postgres_server, f"salvage {number} ü", f'salvage {number} "live"')
        with postgres_server.connect() as connection:
            for name, template in (
                (twins.reference, "template0"),
                (twins.database, twins.reference),
            ):
                made.append(name)
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                        sql.Identifier(name), sql.Identifier(template)
                    )
                )
                if template == "template0":
                    twins.write_reference(statements)
        return twins

    yield make
    with postgres_server.connect() as connection:
        for name in made:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
def shop(make_twins: MakeTwins) -> Twins:
    """A small shop with keys, a composite key, a generated column and a table without key."""
    return make_twins(SHOP)


def merge_args(twins: Twins, dest: Path, **options: object) -> dict[str, object]:
    """The arguments of a merge."""
    return twins.args(state="merged", dest=str(dest), **options)
