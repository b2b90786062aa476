"""Customers who buy: so that there are rows that no backup has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def place_orders(url: str, count: int) -> int:
    """Buy ``count`` times through the proxy; returns how many orders were taken."""
    import httpx

    with httpx.Client(base_url=url, timeout=5) as client, ThreadPoolExecutor(4) as pool:

        def buy(number: int) -> bool:
            body = {"customer": 1 + number % 20, "product": 1 + number % 50, "quantity": 2}
            try:
                return client.post("/checkout", json=body).status_code == 201
            except httpx.HTTPError:
                return False

        return sum(pool.map(buy, range(count)))
