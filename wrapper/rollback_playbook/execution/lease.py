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
        """A run that left something half-way leaves the environment locked for the long time."""
        held = not self._ended.is_set() and self._token is not None
        self._stop()
        if held and not self.lost and self._token is not None:
            done = self._is_done()
            renewal = self._renew(self._token, Lease.RELEASED if done else Lease.KEPT)
            self.released = self._token if done and renewal.renewed else None

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

    def _take(self, result: Mapping[str, Any]) -> None:
        if self._thread is not None or not result.get("holder"):
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
