"""Customers of the lab's shop, who notice also what is wrong in an answer.

``python -m rollback_playbook.lab.customers URL FILE``: see ``drill.prober``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from rollback_playbook.drill.prober import RATE, Prober, Sample, asked, keep_asking

_TIMEOUT_SECONDS = 1.0


def asking(url: str, file: Path) -> Prober:
    """Customers of the shop at ``url``, from now on."""
    return Prober(__name__, [url], file)


async def _ask_all_the_time(url: str, file: Path) -> None:
    import httpx

    limits = httpx.Limits(max_connections=int(RATE) * 2, max_keepalive_connections=int(RATE))
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_SECONDS, limits=limits) as client:
        prices = await _prices(client)

        async def ask(tick: int) -> Sample:
            path = _path(tick)
            return await asked(client, path, partial(is_wrong, price=prices.get(path)))

        await keep_asking(ask, file)


def _path(tick: int) -> str:
    """Mostly orders, which are read from the database; each customer comes by in turn."""
    return f"/products/{1 + tick % 50}" if tick % 4 == 0 else f"/orders/{1 + tick % 97}"


async def _prices(client: Any) -> dict[str, Decimal]:
    """The price of each product that is asked for, before anything is broken."""
    import httpx

    paths = sorted({path for path in map(_path, range(200)) if path.startswith("/products/")})
    prices = {}
    for path in paths:
        with suppress(httpx.HTTPError, *_MALFORMED):
            prices[path] = Decimal((await client.get(path)).json()["price"])
    return prices


#: What a user's program trips over in an answer that is not what it should be.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def is_wrong(content: bytes, price: Decimal | None) -> bool:
    """Whether a page says what is not so.

    An order (it has lines) is wrong when its total is not that of its lines; a product when its
    price is not ``price``, which is None where none is known. So is what cannot be read.
    """
    try:
        page = json.loads(content)
        if "lines" not in page:
            return price is not None and Decimal(page["price"]) != price
        total = sum(
            (Decimal(line["price"]) * line["quantity"] for line in page["lines"]),
            start=Decimal(0),
        )
        return Decimal(page["total"]) != total
    except _MALFORMED:
        return True


if __name__ == "__main__":
    asyncio.run(_ask_all_the_time(sys.argv[1], Path(sys.argv[2])))
