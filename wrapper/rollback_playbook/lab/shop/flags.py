"""Feature flags, as OpenFeature reads them from flagd's file."""

from __future__ import annotations

import threading

#: Whether anybody may buy.
CHECKOUT = "checkout"
#: Whether products are recommended, which costs the database the most.
RECOMMENDATIONS = "recommendations"
#: Whether costly pages are limited for each address: on when the shop is in trouble.
RATE_LIMITING = "rate_limiting"

_LOAD_SECONDS = 2


class Flags:
    """Loaded beside the start of the shop: the provider's libraries take a while to import, which
    the first pages need not wait for. How often the file is looked at is flagd's own variable,
    FLAGD_DEADLINE_MS."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._ready = threading.Event()
        threading.Thread(target=self._load, daemon=True).start()

    def is_on(self, name: str) -> bool:
        """A flag that cannot be read is off: the safe state."""
        if not self._ready.wait(timeout=_LOAD_SECONDS):
            return False
        from openfeature import api

        return bool(api.get_client().get_boolean_value(name, default_value=False))

    def _load(self) -> None:
        from openfeature import api
        from openfeature.contrib.provider.flagd import FlagdProvider
        from openfeature.contrib.provider.flagd.config import ResolverType

        api.set_provider(
            FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=self._path)
        )
        self._ready.set()
