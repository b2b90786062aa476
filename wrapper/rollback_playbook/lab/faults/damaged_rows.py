"""Part of one table damaged, as by a script that ran with the wrong condition."""

from __future__ import annotations

import json

from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab
from rollback_playbook.lab.seeding import connect

TABLE = "orders"
WHERE = "id BETWEEN 21 AND 80"

_WRONG = """
SELECT count(*) FROM orders o
  JOIN (SELECT order_id, sum(quantity * price) AS total FROM order_lines GROUP BY order_id) l
    ON l.order_id = o.id
 WHERE l.total <> o.total
"""
# The table that the newest restore of rows made.
_KEPT = """
SELECT relnamespace::regnamespace::text, relname FROM pg_class
 WHERE relname LIKE 'orders\\_\\_kept\\_%' AND relkind = 'r' ORDER BY oid DESC LIMIT 1
"""


def damage_orders(lab: Lab) -> None:
    """Multiply the totals of some orders by a hundred."""
    with connect(lab.state(), "shop") as connection:
        connection.execute(f"UPDATE {TABLE} SET total = total * 100 WHERE {WHERE}")  # noqa: S608


def _wrong_totals(lab: Lab) -> list[str]:
    with connect(lab.state(), "shop") as connection:
        row = connection.execute(_WRONG).fetchone()
    count = int(str(row[0])) if row else 0
    return [f"the totals of {count} orders are wrong"] if count else []


def kept_rows(lab: Lab) -> tuple[str, int]:
    """The table beside the orders that keeps what a restore of rows replaced; how many rows."""
    from psycopg import sql

    with connect(lab.state(), "shop") as connection:
        found = connection.execute(_KEPT).fetchone()
        if found is None:
            return "", 0
        table = sql.Identifier(str(found[0]), str(found[1]))
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    return f"{found[0]}.{found[1]}", int(str(row[0])) if row else 0


FAULT = Fault(
    name="damaged-rows",
    title=f"a script with the wrong condition damages some orders: {WHERE}",
    scenarios=("data-corruption",),
    cause=damage_orders,
    symptoms=_wrong_totals,
    variables=(json.dumps({"database_table": TABLE, "database_where": WHERE}),),
)
