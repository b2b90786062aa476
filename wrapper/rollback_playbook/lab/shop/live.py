"""Orders as they change, over WebSockets: /live?order=7.

Every connection is one session in Valkey, so that all processes together stay within one limit.
Environment: SHOP_LIVE_PORT, SHOP_CACHE_PORT, SHOP_DATABASE.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from urllib.parse import parse_qs, urlsplit

import psycopg
import redis.asyncio as redis
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

#: Sessions that the shop can serve, over all processes.
LIMIT = 20
_SESSIONS = "live:session:"
_LOOK_SECONDS = 1.0
_TRY_AGAIN_LATER = 1013


class Live:
    """Tells each connection the state of its order, and again whenever that changes."""

    def __init__(self, conninfo: str, cache: redis.Redis) -> None:
        self._conninfo = conninfo
        self._cache = cache

    async def answer(self, connection: ServerConnection) -> None:
        """One connection, from its beginning to its end."""
        session = _SESSIONS + secrets.token_hex(8)
        if await self._sessions() >= LIMIT:
            await connection.close(_TRY_AGAIN_LATER, "too many sessions")
            return
        await self._cache.set(session, "open")
        try:
            await self._follow(connection, _order(connection))
        except ConnectionClosed:
            return
        finally:
            await self._cache.delete(session)

    async def _sessions(self) -> int:
        return len([key async for key in self._cache.scan_iter(f"{_SESSIONS}*")])

    async def _follow(self, connection: ServerConnection, order: int) -> None:
        told = ""
        while True:
            status = await self._status(order)
            if status != told:
                await connection.send(json.dumps({"order": order, "status": status}))
                told = status
            await asyncio.sleep(_LOOK_SECONDS)

    async def _status(self, order: int) -> str:
        async with await psycopg.AsyncConnection.connect(self._conninfo) as database:
            cursor = await database.execute("SELECT status FROM orders WHERE id = %s", (order,))
            row = await cursor.fetchone()
        return str(row[0]) if row else "unknown"


def _order(connection: ServerConnection) -> int:
    path = connection.request.path if connection.request else ""
    number = parse_qs(urlsplit(path).query).get("order", ["0"])[0]
    return int(number) if number.isdecimal() and len(number) < 10 else 0


async def _main() -> None:
    cache = redis.Redis(port=int(os.environ["SHOP_CACHE_PORT"]), decode_responses=True)
    live = Live(os.environ["SHOP_DATABASE"], cache)
    async with serve(live.answer, "127.0.0.1", int(os.environ["SHOP_LIVE_PORT"])) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
