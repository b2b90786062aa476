"""A customer's own page, with one look at the session for both queries."""

from __future__ import annotations

from typing import Any

from store import Store

_ACCOUNT = "SELECT id, name, email, loyalty_tier FROM customers WHERE id = %s"
_ORDERS = "SELECT count(*) AS orders FROM orders WHERE customer_id = %s"


class Accounts:
    """Remembers the customer between the queries, and forgets that all requests share it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._customer: int | None = None

    def page(self, token: str) -> dict[str, Any] | None:
        """Who has opened this session, and how often they have bought; None for no session."""
        self._customer = self._store.session(token)
        if self._customer is None:
            return None
        return {**self._orders(), **self._account()}

    def _orders(self) -> dict[str, Any]:
        return self._store.one(_ORDERS, self._customer) or {}

    def _account(self) -> dict[str, Any]:
        return self._store.one(_ACCOUNT, self._customer) or {}
