"""The lease of the environment, renewed with its token for as long as a run lives.

A run that is killed renews nothing more, so that a short lease frees the environment soon. A run
whose lease somebody else has taken is stopped before it changes more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Any, Self

from rollback_playbook.catalogue.collection import bundled_playbooks
from rollback_playbook.execution.runner import Interrupt, JobEvent, PlaybookRun, run

_ACTION = "sre.rollback.environment_lock"
_ENDED = frozenset({"runner_on_ok", "runner_on_failed", "runner_on_unreachable"})
#: A renewal that fails is tried again after this part of the lease.
_RETRY = 1 / 12
#: The lease counts as lost this part of it before it ends: the next task must not begin by then.
_MARGIN = 1 / 6


@dataclass(frozen=True)
class Renewal:
    """What came of one attempt: renewed, refused (the lease is not ours any more), or neither."""

    renewed: bool
    refused: bool = False
    message: str = ""


class Lease(Enum):
    """What becomes of it: renewed for a moment, kept for the long time after a failure, or free."""

    RENEWED = "renewed"
    KEPT = "kept"
    RELEASED = "released"


#: Renews the lease of a token, or gives it back.
Renew = Callable[[int, Lease], Renewal]


class LeaseKeeper:
    """Follows the events of a run: from the lock that it takes to its Close.

    ``lost`` says why the run was asked to stop, and is empty while the lease is ours. ``is_done``
    is asked when the run has ended before its Close: whether nothing of it is left half-way.
    """

    def __init__(
        self, renew: Renew, interrupt: Interrupt, is_done: Callable[[], bool] = lambda: False
    ) -> None:
        self._renew = renew
        self._is_done = is_done
        self._interrupt = interrupt
        self._token: int | None = None
        self._ended = threading.Event()
        self._given_back = False
        self._thread: threading.Thread | None = None
        self.lost = ""
        #: The token of the lease, once it was given back before Close.
        self.released: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """A run that left something half-way leaves the environment locked for the long time.

        Also one that was stopped in its Close, before the task that gives the lease back.
        """
        self._stop()
        if not self._given_back:
            self.end(Lease.RELEASED if self._is_done() else Lease.KEPT)

    def watch(self, on_event: Callable[[JobEvent], None]) -> Callable[[JobEvent], None]:
        """A handler that looks for the lock and for Close, and hands every event on."""

        def handler(event: JobEvent) -> None:
            self._look_at(event)
            on_event(event)

        return handler

    def _look_at(self, event: JobEvent) -> None:
        data = event.get("event_data") or {}
        # A task of it, not its start: when a host was lost, the play starts and has no host.
        if event.get("event") == "playbook_on_task_start" and data.get("play") == "Close":
            self._stop()
        elif event.get("event") == "runner_on_ok" and data.get("resolved_action") == _ACTION:
            self._take(data.get("res") or {})

    @property
    def token(self) -> int | None:
        """Of the lease; None where it was never taken, or is lost."""
        return None if self.lost else self._token

    def hand_over(self) -> int | None:
        """The token, for a run that goes on with the lease: here nothing renews or frees it."""
        self._stop()
        self._given_back = True
        return self.token

    def end(self, lease: Lease) -> None:
        """Give the lease back, or keep it, whoever went on with it meanwhile."""
        token = self.hand_over()
        if token is not None and self._renew(token, lease).renewed and lease is Lease.RELEASED:
            self.released = token

    def _take(self, result: Mapping[str, Any]) -> None:
        if not result.get("holder"):
            self._given_back = True
            return
        if self._thread is not None:
            return
        self._token = int(result["token"])
        self._thread = threading.Thread(
            target=self._keep,
            args=(self._token, float(result["expires_in"])),
            name="lease",
            daemon=True,
        )
        self._thread.start()

    def _stop(self) -> None:
        self._ended.set()

    def _keep(self, token: int, ttl: float) -> None:
        end, pause = time.monotonic() + ttl, ttl / 3
        while not self._ended.wait(max(min(pause, end - ttl * _MARGIN - time.monotonic()), 0)):
            asked = time.monotonic()
            renewal = self._renew(token, Lease.RENEWED)
            if self._ended.is_set():
                return
            if renewal.renewed:
                end, pause = asked + ttl, ttl / 3
                continue
            pause = ttl * _RETRY
            if renewal.refused or time.monotonic() >= end - ttl * _MARGIN:
                self.lost = renewal.message
                self._interrupt.ask()
                return


def take_lease(request: PlaybookRun, keeper: LeaseKeeper, interrupt: Interrupt) -> str:
    """Take the environment for what is no scenario, with the variables of ``request``.

    ``keeper`` renews it from then on. Returns why it was not taken; empty when it was.
    """
    problems: list[str] = []

    def on_event(event: JobEvent) -> None:
        if event.get("event") in _ENDED and event["event"] != "runner_on_ok":
            problems.append(str((event["event_data"].get("res") or {}).get("msg", "no answer")))

    asked = replace(request, playbook=bundled_playbooks() / "lease" / "take.yml", tags=())
    outcome = run(asked, keeper.watch(on_event), interrupt)
    if outcome.rc == 0:
        return ""
    return "; ".join(dict.fromkeys(problems)) or " ".join(outcome.output_tail) or outcome.status


def lease_renewer(request: PlaybookRun) -> Renew:
    """Renews by the collection's own role, with the inventory and variables of ``request``."""

    def renew(token: int, lease: Lease) -> Renewal:
        variables = {
            **request.variables,
            "incident_lock_token": token,
            "incident_lock_keep": lease is Lease.KEPT,
            "incident_lock_release": lease is Lease.RELEASED,
        }
        asked = replace(
            request,
            playbook=bundled_playbooks() / "lease" / "renew.yml",
            variables=variables,
            tags=(),
        )
        results: list[Mapping[str, Any]] = []

        def on_event(event: JobEvent) -> None:
            if event.get("event") in _ENDED:
                failed = event["event"] != "runner_on_ok"
                results.append({"failed": failed, **(event["event_data"].get("res") or {})})

        outcome = run(asked, on_event, Interrupt())
        if not results:
            return Renewal(False, message=" ".join(outcome.output_tail) or "Ansible did not start")
        result = results[-1]
        message = str(result.get("msg", "no answer"))
        return Renewal(not result["failed"], refused="lock" in result, message=message)

    return renew
