"""What is bought together, order by order: the query had become hard to read."""

from __future__ import annotations

from collections import Counter

from store import Store

_ORDERS = "SELECT order_id FROM order_lines WHERE product_id = %s"
_LINES = "SELECT product_id FROM order_lines WHERE order_id = %s"


def bought_together(store: Store, product: int) -> list[int]:
    """The three products that are most often in an order with this one."""
    found: Counter[int] = Counter()
    for order in store.all(_ORDERS, product):
        for line in store.all(_LINES, order["order_id"]):
            found[int(line["product_id"])] += 1
    del found[product]
    return [other for other, _ in found.most_common(3)]
