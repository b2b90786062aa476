"""What is bought together, heaviest first: the parcels are packed that way."""

from __future__ import annotations

from store import Store

_QUERY = """
SELECT other.product_id FROM order_lines line
JOIN order_lines other USING (order_id)
JOIN products p ON p.id = other.product_id
WHERE line.product_id = %s AND other.product_id <> line.product_id
GROUP BY other.product_id, p.weight ORDER BY p.weight DESC, other.product_id LIMIT 3
"""


def bought_together(store: Store, product: int) -> list[int]:
    """The three heaviest products that are in an order with this one."""
    return [int(row["product_id"]) for row in store.all(_QUERY, product)]
