"""Users of an environment: each of its addresses in turn, 200 is what they want.

``python -m rollback_playbook.drill.users FILE``: see ``drill.prober``. What they ask for is read
from stdin: an address may hold a password, and a command line is everybody's to read.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rollback_playbook.drill.prober import Prober, Sample, asked, keep_asking


@dataclass(frozen=True)
class Wish:
    """Users who ask ``rate`` times a second and give up after ``timeout`` seconds."""

    urls: Sequence[str]
    rate: float
    timeout: float
    #: A file with the certificates to trust; those that httpx brings when empty.
    ca_cert: str = ""


def asking(wish: Wish, file: Path) -> Prober:
    """They ask until they are stopped."""
    given = json.dumps(asdict(wish))
    return Prober(__name__, [], file, timeout=wish.timeout, given=given)


async def _ask_all_the_time(wish: Wish, file: Path) -> None:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=int(wish.rate) + 1)
    trusted = ssl.create_default_context(cafile=wish.ca_cert) if wish.ca_cert else True
    async with httpx.AsyncClient(timeout=wish.timeout, limits=limits, verify=trusted) as client:

        async def ask(tick: int) -> Sample:
            return await asked(client, wish.urls[tick % len(wish.urls)], timeout=wish.timeout)

        await keep_asking(ask, file, rate=wish.rate)


if __name__ == "__main__":
    asyncio.run(_ask_all_the_time(Wish(**json.load(sys.stdin)), Path(sys.argv[1])))
