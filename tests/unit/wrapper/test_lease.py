"""The lease of the environment while a run lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rollback_playbook.execution.lease import Lease, LeaseKeeper, Renewal
from rollback_playbook.execution.runner import Interrupt

_REFUSED = Renewal(False, refused=True, message="lab cannot be held on to: held by bob.")
_SILENT = Renewal(False, message="the server does not answer")


def _locked(ttl: float) -> dict[str, Any]:
    return {
        "event": "runner_on_ok",
        "event_data": {
            "resolved_action": "sre.rollback.environment_lock",
            "res": {"token": 7, "holder": "ann", "expires_in": ttl},
        },
    }


def _free() -> dict[str, Any]:
    event = _locked(0)
    event["event_data"]["res"] = {"token": 7, "holder": "", "expires_in": None}
    return event


def _play(name: str) -> dict[str, Any]:
    return {"event": "playbook_on_play_start", "event_data": {"play": name}}


def _task(play: str) -> dict[str, Any]:
    return {"event": "playbook_on_task_start", "event_data": {"play": play, "task": "a task"}}


class _Backend:
    """Answers in turn, the last answer for ever, and notes who asked."""

    def __init__(self, answers: Sequence[Renewal] = (Renewal(True),)) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[int, Lease]] = []
        self.was_asked = threading.Event()

    def renew(self, token: int, lease: Lease) -> Renewal:
        self.asked.append((token, lease))
        self.was_asked.set()
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _handed_on(_event: dict[str, Any]) -> None:
    """What the run itself does with an event."""


def test_lease_is_renewed_with_its_token_until_close_begins() -> None:
    backend, interrupt = _Backend(), Interrupt()
    with LeaseKeeper(backend.renew, interrupt) as lease:
        handle = lease.watch(_handed_on)
        handle(_locked(0.3))
        _until(lambda: len(backend.asked) >= 3)
        handle(_task("Close"))
        asked = len(backend.asked)
        time.sleep(0.4)
        handle(_free())

    assert len(backend.asked) <= asked + 1
    assert set(backend.asked) == {(7, Lease.RENEWED)}
    assert not interrupt.asked
    assert lease.lost == ""


def test_lease_that_somebody_took_stops_the_run_and_is_left_alone() -> None:
    backend, interrupt = _Backend([Renewal(True), _REFUSED]), Interrupt()
    with LeaseKeeper(backend.renew, interrupt) as lease:
        lease.watch(_handed_on)(_locked(0.3))
        _until(lambda: interrupt.asked)

    assert "held by bob" in lease.lost
    assert backend.asked == [(7, Lease.RENEWED), (7, Lease.RENEWED)]


def test_backend_that_is_silent_for_a_moment_stops_nobody() -> None:
    backend, interrupt = _Backend([_SILENT, _SILENT, Renewal(True)]), Interrupt()
    with LeaseKeeper(backend.renew, interrupt) as lease:
        handle = lease.watch(_handed_on)
        handle(_locked(3))
        _until(lambda: len(backend.asked) >= 3)
        handle(_task("Close"))
        handle(_free())

    assert not interrupt.asked


def test_backend_that_stays_silent_stops_the_run_before_the_lease_ends() -> None:
    backend, interrupt = _Backend([_SILENT]), Interrupt()
    started = time.monotonic()
    with LeaseKeeper(backend.renew, interrupt) as lease:
        lease.watch(_handed_on)(_locked(1))
        _until(lambda: interrupt.asked)

    assert time.monotonic() - started > 0.5
    assert lease.lost == "the server does not answer"


def test_run_that_fails_before_its_close_leaves_the_environment_locked() -> None:
    backend = _Backend()
    with LeaseKeeper(backend.renew, Interrupt()) as lease:
        lease.watch(_handed_on)(_locked(900))

    assert backend.asked == [(7, Lease.KEPT)]


def test_close_that_has_no_host_left_does_not_count_as_the_end() -> None:
    backend = _Backend()
    with LeaseKeeper(backend.renew, Interrupt()) as lease:
        handle = lease.watch(_handed_on)
        handle(_locked(900))
        handle(_play("Close"))

    assert backend.asked == [(7, Lease.KEPT)]


def test_run_that_is_stopped_in_its_close_before_the_lease_is_free_does_not_forget_it() -> None:
    backend = _Backend()
    with LeaseKeeper(backend.renew, Interrupt(), lambda: True) as lease:
        handle = lease.watch(_handed_on)
        handle(_locked(900))
        handle(_task("Close"))

    assert backend.asked == [(7, Lease.RELEASED)]


def test_lease_that_was_handed_over_is_left_to_whoever_goes_on_with_it() -> None:
    backend = _Backend()
    with LeaseKeeper(backend.renew, Interrupt(), lambda: True) as lease:
        lease.watch(_handed_on)(_locked(900))
        token = lease.hand_over()

    assert (token, backend.asked) == (7, [])


def test_lease_that_was_handed_over_and_not_taken_can_still_be_given_back() -> None:
    backend = _Backend()
    with LeaseKeeper(backend.renew, Interrupt(), lambda: True) as lease:
        lease.watch(_handed_on)(_locked(900))
        lease.hand_over()
        lease.end(Lease.RELEASED)

    assert backend.asked == [(7, Lease.RELEASED)]


def test_run_that_leaves_nothing_half_way_gives_the_environment_back() -> None:
    backend = _Backend()
    with LeaseKeeper(backend.renew, Interrupt(), lambda: True) as lease:
        lease.watch(_handed_on)(_locked(900))

    assert backend.asked == [(7, Lease.RELEASED)]
    assert lease.released == 7


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(_play("Switch"), id="no lock"),
        pytest.param(
            {
                "event": "runner_on_failed",
                "event_data": {
                    "resolved_action": "sre.rollback.environment_lock",
                    "res": {"lock": {"holder": "bob", "token": 6}},
                },
            },
            id="refused",
        ),
    ],
)
def test_run_without_a_lock_renews_nothing(event: dict[str, Any]) -> None:
    backend = _Backend()
    with LeaseKeeper(backend.renew, Interrupt()) as lease:
        lease.watch(_handed_on)(event)

    assert backend.asked == []


def test_every_event_is_handed_on() -> None:
    events = [_play("Declare"), _locked(900), _play("Close"), _task("Close")]
    seen: list[dict[str, Any]] = []
    with LeaseKeeper(_Backend().renew, Interrupt()) as lease:
        for event in events:
            lease.watch(seen.append)(event)

    assert seen == events
