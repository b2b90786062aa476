"""Users of an environment: each of its addresses in turn, 200 is what they want.

``python -m rollback_playbook.drill.users RATE TIMEOUT URL … FILE``: see ``drill.prober``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from rollback_playbook.drill.prober import Prober, Sample, asked, keep_asking


def asking(urls: Sequence[str], file: Path, *, rate: float, timeout: float) -> Prober:
    """Users who ask ``rate`` times a second and give up after ``timeout`` seconds."""
    return Prober(__name__, [str(rate), str(timeout), *urls], file, timeout=timeout)


async def _ask_all_the_time(
    urls: Sequence[str], file: Path, *, rate: float, timeout: float
) -> None:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=int(rate) + 1)
    async with httpx.AsyncClient(timeout=timeout, limits=limits) as client:

        async def ask(tick: int) -> Sample:
            return await asked(client, urls[tick % len(urls)], timeout=timeout)

        await keep_asking(ask, file, rate=rate)


if __name__ == "__main__":
    _rate, _timeout, *_urls, _file = sys.argv[1:]
    asyncio.run(_ask_all_the_time(_urls, Path(_file), rate=float(_rate), timeout=float(_timeout)))
