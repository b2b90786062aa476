# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Breakers of Resilience4j, through the Spring Boot actuator of every instance of a service.

The endpoint ``circuitbreakers`` lists breakers with their state on GET, and takes ``CLOSE``,
``FORCE_OPEN`` or ``DISABLE`` for one on POST. A POST for a name that an instance does not know
would create it, so only names that the instance has listed are ever sent.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import typing as t
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from ansible.module_utils.urls import open_url

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core

_FORCED_OPEN = "FORCED_OPEN"
_STATES = {_FORCED_OPEN: core.OPEN, "OPEN": core.OPEN, "HALF_OPEN": core.HALF_OPEN}

# What brings back a state. Those that a breaker reaches by itself it finds again when closed.
_UPDATES = {
    _FORCED_OPEN: "FORCE_OPEN",
    "CLOSED": "CLOSE",
    "OPEN": "CLOSE",
    "HALF_OPEN": "CLOSE",
    "DISABLED": "DISABLE",
    "METRICS_ONLY": "DISABLE",
}

_RESULTS = {"CLOSE": "CLOSED", "FORCE_OPEN": _FORCED_OPEN, "DISABLE": "DISABLED"}
_BY_ITSELF = {"CLOSED", "OPEN", "HALF_OPEN"}

_MOST_AT_ONCE = 16
_MIXED, _UNREACHABLE = "mixed", "UNREACHABLE"

_HINTS = {
    401: "Correct url_username and url_password, or bearer_token.",
    403: "The account may not do this, or the application wants a CSRF token for it.",
    404: "Add circuitbreakers to management.endpoints.web.exposure.include of the application.",
    405: "The application exposes the endpoint for reading only.",
}


class _InstanceError(Exception):
    """One instance did not do what it was asked."""


class Resilience4j(core.Provider):
    """Breakers by name, each on all instances."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._urls = [_endpoint(url) for url in dict.fromkeys(params["instances"])]
        token = params["bearer_token"]
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._options = {
            "timeout": params["login_timeout"],
            "validate_certs": params["validate_certs"],
            "ca_path": params["ca_certs"],
            "client_cert": params["client_cert_file"],
            "client_key": params["client_key_file"],
            "url_username": params["url_username"],
            "url_password": params["url_password"],
            "force_basic_auth": bool(params["url_username"]),
        }
        self._troubles: dict[str, str] = {}
        self._refusals: dict[str, str] = {}

    def refuse(self, wish: core.Wish) -> None:
        if wish.state == core.HALF_OPEN or wish.lease is not None:
            raise core.BreakerError(
                "Resilience4j's actuator can only close a breaker or force it open: it takes "
                "neither half_open nor a lease. Nothing was changed."
            )

    def names(self) -> list[str]:
        return sorted({name for states in self._list().values() for name in states})

    def observe(self, names: t.Sequence[str]) -> list[core.Breaker]:
        listed = self._list()
        return [
            _breaker(
                name,
                {
                    url: _UNREACHABLE if url in self._troubles else listed[url].get(name)
                    for url in self._urls
                },
            )
            for name in names
        ]

    def predict(self, breaker: core.Breaker, wish: core.Wish) -> core.Breaker:
        wanted = _wanted(breaker, wish)
        if not wanted:
            return breaker
        results = {url: _RESULTS[_UPDATES[state]] for url, state in wanted.items()}
        return _breaker(breaker.name, {**breaker.facts["instances"], **results})

    def apply(self, breakers: t.Sequence[core.Breaker], wish: core.Wish) -> None:
        posts = [
            (url, breaker.name, _UPDATES[state])
            for breaker in breakers
            for url, state in _wanted(breaker, wish).items()
        ]
        with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
            list(pool.map(self._post, posts))

    def contradiction(self, breaker: core.Breaker, wish: core.Wish) -> str:
        wrong = []
        for url, state in breaker.facts["instances"].items():
            if state == _UNREACHABLE:
                wrong.append(f"{url} is not known: {self._troubles[url]}")
            elif state is None and wish.state == core.OPEN:
                wrong.append(f"{url} does not have it yet, so calls from there are not refused")
        for url, target in _wanted(breaker, wish).items():
            state = breaker.facts["instances"][url]
            if not _same(state, target):
                why = self._refusals.get(url, "")
                wrong.append(f"{url} has it {state}, not {target} {why}".strip())
        return ", ".join(wrong)

    def _list(self) -> dict[str, dict[str, str]]:
        """The states of the breakers of every instance that answers. Raises when none does."""
        with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
            listed = dict(zip(self._urls, pool.map(self._list_one, self._urls)))
        if len(self._troubles) == len(self._urls):
            reasons = "; ".join(f"{url}: {why}" for url, why in self._troubles.items())
            raise core.BreakerError(f"No instance answers. {reasons} Nothing was changed by that.")
        return listed

    def _list_one(self, url: str) -> dict[str, str]:
        try:
            breakers = self._ask(url)["circuitBreakers"]
            states = {name: str(entry["state"]) for name, entry in breakers.items()}
        except _InstanceError as exc:
            self._troubles[url] = str(exc)
        except (KeyError, TypeError, AttributeError):
            self._troubles[url] = "the answer is not that of the endpoint circuitbreakers."
        else:
            self._troubles.pop(url, None)
            return states
        return {}

    def _post(self, post: tuple[str, str, str]) -> None:
        url, name, update = post
        try:
            self._ask(f"{url}/{quote(name, safe='')}", {"updateState": update})
        except _InstanceError as exc:
            # The next look at all instances says whether it was done all the same.
            self._refusals[url] = str(exc)

    def _ask(self, url: str, body: t.Mapping[str, str] | None = None) -> t.Any:
        headers = {**self._headers, "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body)
        try:
            method = "GET" if body is None else "POST"
            with open_url(
                url, method=method, data=data, headers=headers, **self._options
            ) as answer:
                return json.loads(answer.read())
        except HTTPError as exc:
            hint = _HINTS.get(exc.code, "")
            raise _InstanceError(f"HTTP status {exc.code}. {hint}".strip()) from exc
        except URLError as exc:
            raise _InstanceError(f"{exc.reason}.") from exc
        except (OSError, HTTPException) as exc:
            raise _InstanceError(f"{exc}.") from exc
        except ValueError as exc:
            raise _InstanceError("the answer is not JSON.") from exc


def _endpoint(url: str) -> str:
    """The endpoint below an actuator's address. Raises BreakerError for another kind of URL."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username
    except ValueError:
        usable = False
    if not usable:
        raise core.BreakerError(
            "instances holds an entry that is not http(s)://host[:port]/actuator, without a user "
            "or password. Nothing was changed."
        )
    return f"{url.rstrip('/')}/circuitbreakers"


def _breaker(name: str, instances: t.Mapping[str, str | None]) -> core.Breaker:
    states = {state for state in instances.values() if state not in (None, _UNREACHABLE)}
    meanings = {_STATES.get(t.cast(str, state), t.cast(str, state).lower()) for state in states}
    state = core.ABSENT if not states else meanings.pop() if len(meanings) == 1 else _MIXED
    held = set(instances.values()) == {_FORCED_OPEN}
    return core.Breaker(name, state, held=held, facts={"instances": dict(instances)})


def _wanted(breaker: core.Breaker, wish: core.Wish) -> dict[str, str]:
    """The state that each instance shall get, for those that have the breaker in another one."""
    wanted = {}
    for url, state in breaker.facts["instances"].items():
        target = _target(url, breaker.name, wish)
        known = state not in (None, _UNREACHABLE)
        if known and state != target and not (wish.state == core.RESTORED and _same(state, target)):
            wanted[url] = target
    return wanted


def _same(state: str, target: str) -> bool:
    """Whether the breaker goes from one to the other by itself, so that both are as good."""
    return state == target or {state, target} <= _BY_ITSELF


def _target(url: str, name: str, wish: core.Wish) -> str:
    if wish.state != core.RESTORED:
        return _FORCED_OPEN if wish.state == core.OPEN else "CLOSED"
    try:
        before = wish.snapshot[name]["instances"][url]
    except (KeyError, TypeError):
        before = None
    if before not in _UPDATES:
        raise core.BreakerError(
            f"snapshot of breaker {name!r} does not say which state {url} had. Nothing was "
            "changed by that."
        )
    return str(before)
