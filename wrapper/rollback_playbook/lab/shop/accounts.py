"""A customer's own page."""

from __future__ import annotations

from typing import Any

from store import Store

_ACCOUNT = "SELECT id, name, email, loyalty_tier FROM customers WHERE id = %s"
_ORDERS = "SELECT count(*) AS orders FROM orders WHERE customer_id = %s"


class Accounts:
    """One for all requests, so it remembers nothing about any of them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def page(self, token: str) -> dict[str, Any] | None:
        """Who has opened this session, and how often they have bought; None for no session."""
        customer = self._store.session(token)
        if customer is None:
            return None
        orders = self._store.one(_ORDERS, customer)
        account = self._store.one(_ACCOUNT, customer)
        return {**(account or {}), **(orders or {})}
