"""How often one address may ask for what is costly, counted in Valkey for every instance."""

from __future__ import annotations

import time

import redis

_EXPIRE_SECONDS = 10


class RateLimit:
    """So many requests a second."""

    def __init__(self, *, cache_port: int, per_second: int) -> None:
        self._cache = redis.Redis(port=cache_port, socket_timeout=1)
        self._per_second = per_second

    def allows(self, address: str) -> bool:
        """Whether one more is within the limit; without Valkey it is."""
        key = f"rate:{address}:{int(time.time())}"
        try:
            with self._cache.pipeline(transaction=False) as pipe:
                count, _ = pipe.incr(key).expire(key, _EXPIRE_SECONDS).execute()
        except redis.RedisError:
            return True
        return int(count) <= self._per_second
