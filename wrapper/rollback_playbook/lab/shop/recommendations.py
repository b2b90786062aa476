"""What is bought together: the page that costs the database the most."""

from __future__ import annotations

from store import Store

_QUERY = """
SELECT other.product_id FROM order_lines line
JOIN order_lines other USING (order_id)
WHERE line.product_id = %s AND other.product_id <> line.product_id
GROUP BY other.product_id ORDER BY count(*) DESC, other.product_id LIMIT 3
"""


def bought_together(store: Store, product: int) -> list[int]:
    """The three products that are most often in an order with this one."""
    return [int(row["product_id"]) for row in store.all(_QUERY, product)]
