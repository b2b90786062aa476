"""A crawler without manners: a hundred requests for recommendations at a time, on and on.

``python -m rollback_playbook.lab.crawler URL`` goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from rollback_playbook.lab.configuration import IDENTITY
from rollback_playbook.lab.places import Lab

if TYPE_CHECKING:
    import httpx

_AT_ONCE = 100
_PRODUCTS = 500
_REST = 2.0


class Crawler:
    """Its process, which belongs to the lab and ends with it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def start(self) -> None:
        """One at a time."""
        self.stop()
        state = self._lab.state()
        subprocess.Popen(
            [sys.executable, "-m", __name__, state.url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, IDENTITY: state.id},
            start_new_session=True,
        )

    def stop(self) -> None:
        """End it, if it is there."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get(IDENTITY) == self._lab.state().id
                if ours and __name__ in process.cmdline():
                    process.send_signal(signal.SIGTERM)
                    process.wait(10)


async def _crawl(url: str) -> None:
    import httpx

    limits = httpx.Limits(max_connections=_AT_ONCE)
    async with (
        httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(_AT_ONCE):
            group.create_task(_follow_links(client, number))


async def _follow_links(client: httpx.AsyncClient, product: int) -> None:
    import httpx

    while True:
        product = 1 + (product + 1) % _PRODUCTS
        with suppress(httpx.HTTPError):
            answer = await client.get(f"/products/{product}/recommendations")
            # Even a crawler waits when it gets nothing.
            await asyncio.sleep(0 if answer.is_success and answer.json()["products"] else _REST)


if __name__ == "__main__":
    asyncio.run(_crawl(sys.argv[1]))
