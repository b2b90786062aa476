"""The payment provider, behind a circuit breaker and a feature flag."""

from __future__ import annotations

import threading
from decimal import Decimal
from functools import partial

import httpx
import pybreaker
import redis

#: The breaker's namespace in Valkey: what an operator opens.
BREAKER = "payment"
#: The flag that closes the checkout.
FLAG = "checkout"

_FAILURES = 5
_RESET_SECONDS = 5
_TIMEOUT_SECONDS = 2


class PaymentUnavailableError(Exception):
    """The provider failed, or the breaker keeps calls away from it."""


class CheckoutClosedError(Exception):
    """The flag says that nobody may buy now."""


class Payments:
    """Charges customers, as long as flag and breaker let it."""

    def __init__(self, *, url: str, cache_port: int, flags: str) -> None:
        storage = pybreaker.CircuitRedisStorage(
            pybreaker.STATE_CLOSED, redis.Redis(port=cache_port), namespace=BREAKER
        )
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=_FAILURES, reset_timeout=_RESET_SECONDS, state_storage=storage
        )
        self._client = httpx.Client(timeout=_TIMEOUT_SECONDS)
        self._url = url
        # The provider's libraries take a while to import, which the first pages need not wait for.
        self._flags = _Flags(flags)

    def charge(self, customer: int, amount: Decimal) -> None:
        """Raises CheckoutClosedError or PaymentUnavailableError; nothing was charged then."""
        if not self._flags.is_on(FLAG):
            raise CheckoutClosedError
        try:
            self._breaker.call(partial(self._post, customer, amount))
        except pybreaker.CircuitBreakerError as error:
            raise PaymentUnavailableError("payments are not taken for the moment") from error
        except httpx.HTTPError as error:
            raise PaymentUnavailableError(f"the payment provider failed: {error}") from error

    def _post(self, customer: int, amount: Decimal) -> None:
        body = {"customer": customer, "amount": str(amount)}
        self._client.post(self._url, json=body).raise_for_status()


class _Flags:
    """OpenFeature flags from flagd's file; loaded beside the start of the shop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._ready = threading.Event()
        threading.Thread(target=self._load, daemon=True).start()

    def is_on(self, name: str) -> bool:
        """A flag that cannot be read is off: the safe state."""
        if not self._ready.wait(timeout=_TIMEOUT_SECONDS):
            return False
        from openfeature import api

        return bool(api.get_client().get_boolean_value(name, default_value=False))

    def _load(self) -> None:
        from openfeature import api
        from openfeature.contrib.provider.flagd import FlagdProvider
        from openfeature.contrib.provider.flagd.config import ResolverType

        api.set_provider(
            FlagdProvider(
                resolver_type=ResolverType.FILE,
                offline_flag_source_path=self._path,
            )
        )
        self._ready.set()
