"""Customers who buy: so that there are rows that no backup has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

CUSTOMERS = tuple(range(1, 21))
#: Customers without a loyalty discount, whose orders the bad migration leaves as they are.
WITHOUT_DISCOUNT = (5, 10, 15, 20)


def place_orders(url: str, count: int, *, customers: Sequence[int] = CUSTOMERS) -> int:
    """Log in and buy ``count`` times through the proxy; returns how many orders were taken."""
    import httpx

    with httpx.Client(base_url=url, timeout=5) as client, ThreadPoolExecutor(4) as pool:
        tokens = list(pool.map(lambda who: _log_in(client, who), customers[:count]))
        bought = pool.map(lambda n: _buy(client, tokens[n % len(tokens)], n), range(count))
        return sum(bought)


def _log_in(client: httpx.Client, customer: int) -> str:
    """A session's token; empty when the shop does not let the customer in."""
    body = {"customer": customer, "email": f"customer{customer}@shop.example"}
    answer = _post(client, "/login", body)
    return "" if answer is None else str(answer["token"])


def _buy(client: httpx.Client, token: str, number: int) -> bool:
    body = {"product": 1 + number % 50, "quantity": 2}
    return _post(client, "/checkout", body, authorization=f"Bearer {token}") is not None


def _post(
    client: httpx.Client, path: str, body: Mapping[str, object], **headers: str
) -> dict[str, object] | None:
    """The answer to what was created, or None."""
    import httpx

    try:
        answer = client.post(path, json=body, headers=headers)
    except httpx.HTTPError:
        return None
    created: dict[str, object] = answer.json() if answer.status_code == HTTPStatus.CREATED else {}
    return created or None
