"""The shop's database: its schema, and enough rows for a restore to be worth measuring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollback_playbook.lab.places import LabState

if TYPE_CHECKING:
    import psycopg

#: Orders at scale 1.
ORDERS = 200_000

_DATABASE = "shop"

# Deterministic: setseed() makes random() repeat (PostgreSQL, section 9.3), so two labs of one
# scale hold the same rows.
_ROWS = """
SELECT setseed(0.42);
INSERT INTO customers (name, email, loyalty_tier, created_at)
SELECT 'Customer ' || n || CASE WHEN n % 7 = 0 THEN ' Łódź ☕' ELSE '' END,
       'customer' || n || '@shop.example', n % 5, timestamptz '2025-01-01' + n * interval '1 min'
FROM generate_series(1, {customers}) n;
INSERT INTO products (name, price, attributes)
SELECT 'Product ' || n, round((5 + random() * 95)::numeric, 2),
       jsonb_build_object('weight', n % 40, 'tags', jsonb_build_array('t' || n % 9, 'é' || n % 4))
FROM generate_series(1, {products}) n;
INSERT INTO orders (customer_id, status, total, note, placed_at)
SELECT 1 + n % {customers}, (ARRAY['paid', 'shipped', 'shipped', 'cancelled'])[1 + n % 4], 0,
       CASE WHEN n % 50 = 0 THEN 'gift for ''Zoë''' END,
       timestamptz '2025-06-01' + n * interval '1 min'
FROM generate_series(1, {orders}) n;
INSERT INTO order_lines (order_id, product_id, quantity, price)
SELECT o.id, p.id, 1 + (o.id % 3)::int, p.price
FROM orders o
JOIN products p ON p.id IN (1 + o.id % {products}, 1 + (o.id * 7 + 3) % {products});
UPDATE orders o SET total = l.total
FROM (SELECT order_id, sum(quantity * price) AS total FROM order_lines GROUP BY order_id) l
WHERE l.order_id = o.id;
CREATE INDEX ON order_lines (order_id);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (placed_at);
"""


def is_seeded(state: LabState) -> bool:
    """Whether the shop's database is there and complete."""
    with connect(state, "postgres") as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_DATABASE,))
        return found.fetchone() is not None


def seed(state: LabState, migrations: Path) -> None:
    """Make the database under another name and rename it when it is whole."""
    partial = f"{_DATABASE}_partial"
    orders = max(int(ORDERS * state.scale), 100)
    with connect(state, "postgres") as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {partial} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {partial}")
    with connect(state, partial) as connection, connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        for path in sorted(migrations.glob("*.up.sql")):
            connection.execute(path.read_bytes())
        rows = _ROWS.format(orders=orders, customers=max(orders // 20, 20), products=500)
        connection.execute(rows.encode())
    with connect(state, partial) as connection:
        connection.execute("VACUUM ANALYZE")
    with connect(state, "postgres") as connection:
        connection.execute(f"ALTER DATABASE {partial} RENAME TO {_DATABASE}")


def connect(state: LabState, database: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection as the lab's superuser, in autocommit mode."""
    import psycopg

    return psycopg.connect(
        host="127.0.0.1",
        port=state.ports["postgres"],
        user="postgres",
        password=state.database_password,
        dbname=database,
        autocommit=True,
        connect_timeout=5,
    )
