"""The shop's database: its schema, and enough rows for a restore to be worth measuring."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rollback_playbook.errors import RefusedError
from rollback_playbook.lab.places import LabState

if TYPE_CHECKING:
    import psycopg

#: Orders at scale 1.
ORDERS = 200_000
PRODUCTS = 500

_FEWEST = 100
_DATABASE = "shop"
_ROLE = "shop"

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
CREATE INDEX ON order_lines (product_id);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (placed_at);
"""


def is_seeded(state: LabState) -> bool:
    """Whether the shop's database is there and complete.

    Raises RefusedError when it is not, but a restore has left its predecessor: new rows in its
    place would hide that the old ones can be had.
    """
    with connect(state, "postgres") as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    names = {str(row[0]) for row in rows}
    kept = sorted(name for name in names if name.startswith(f"{_DATABASE}__"))
    if kept and _DATABASE not in names:
        raise RefusedError(
            f"the lab's database {_DATABASE} is gone, and {', '.join(kept)} stayed: nothing was "
            "seeded in its place",
            hint="bring it back with pg_restore_verified, or begin anew with lab down --purge",
        )
    return _DATABASE in names


def seed(state: LabState, migrations: Path) -> None:
    """Make the database under another name and rename it when it is whole.

    The shop's own role owns it and everything in it, as in a production that is well kept.
    """
    import psycopg

    partial = f"{_DATABASE}_partial"
    with connect(state, "postgres") as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {partial} WITH (FORCE)")
        with suppress(psycopg.errors.DuplicateObject):
            connection.execute(f"CREATE ROLE {_ROLE} LOGIN")
        # The password is hexadecimal, and an utility statement takes no parameters.
        connection.execute(f"ALTER ROLE {_ROLE} PASSWORD '{state.shop_password}'")
        connection.execute(f"CREATE DATABASE {partial} OWNER {_ROLE}")
    with connect(state, partial) as connection, connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute(f"SET LOCAL ROLE {_ROLE}")
        for path in sorted(migrations.glob("*.up.sql")):
            connection.execute(path.read_bytes())
        orders = max(int(ORDERS * state.scale), _FEWEST)
        rows = _ROWS.format(orders=orders, customers=max(orders // 20, 20), products=PRODUCTS)
        connection.execute(rows.encode())
    with connect(state, partial) as connection:
        connection.execute("VACUUM ANALYZE")
    with connect(state, "postgres") as connection:
        connection.execute(f"ALTER DATABASE {partial} RENAME TO {_DATABASE}")


def answers(state: LabState) -> bool:
    """Whether PostgreSQL takes connections."""
    import psycopg

    try:
        connect(state, "postgres").close()
    except psycopg.OperationalError:
        return False
    return True


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
