"""The payment provider, behind a circuit breaker."""

from __future__ import annotations

import json
import logging
import urllib.request
from decimal import Decimal
from functools import cached_property, partial
from http.client import HTTPException
from typing import Any

import pybreaker
import redis

#: The breaker's namespace in Valkey: what an operator opens.
BREAKER = "payment"

_FAILURES = 5
_RESET_SECONDS = 5
_TIMEOUT_SECONDS = 2
#: No connection, no answer in time, a status of 400 or above, an answer that is no JSON object.
_FAILED = (OSError, HTTPException, ValueError, LookupError, TypeError)


class PaymentUnavailableError(Exception):
    """The provider failed, or the breaker keeps calls away from it; nothing was charged."""


class Payments:
    """Charges customers, as long as the breaker lets it."""

    def __init__(self, *, url: str, cache_port: int) -> None:
        self._url = url
        self._storage = redis.Redis(port=cache_port, socket_timeout=_TIMEOUT_SECONDS)

    def charge(self, customer: int, amount: Decimal) -> str:
        """Returns the charge's id; raises PaymentUnavailableError."""
        try:
            return str(self._breaker.call(partial(self._post, customer, amount)))
        except pybreaker.CircuitBreakerError as error:
            raise PaymentUnavailableError("payments are not taken for the moment") from error
        except (*_FAILED, redis.RedisError) as error:
            raise PaymentUnavailableError(f"the payment provider failed: {error}") from error

    def refund(self, charge: str) -> None:
        """Give back what was charged for an order that could not be written."""
        try:
            _send("DELETE", f"{self._url}/{charge}")
        except _FAILED:
            logging.getLogger(__name__).exception("charge %s was not refunded", charge)

    @cached_property
    def _breaker(self) -> pybreaker.CircuitBreaker:
        """Made at the first charge: its storage wants Valkey at once, the other pages do not."""
        storage = pybreaker.CircuitRedisStorage(
            pybreaker.STATE_CLOSED, self._storage, namespace=BREAKER
        )
        return pybreaker.CircuitBreaker(
            fail_max=_FAILURES, reset_timeout=_RESET_SECONDS, state_storage=storage
        )

    def _post(self, customer: int, amount: Decimal) -> str:
        body: dict[str, object] = {"customer": customer, "amount": str(amount)}
        return str(_send("POST", self._url, body)["charge"])


def _send(method: str, url: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    """The JSON answer; the standard library's client, because the start of the shop is a time in
    which users wait, and a greater one takes a third of it to import."""
    request = urllib.request.Request(  # noqa: S310 (the URL is the operator's own)
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found
