"""A crash that left its WebSocket sessions in the register."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

from rollback_playbook.lab import processes, supervision
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab

_SESSIONS = 20
_SECONDS = 10


def _crash_with_everybody_connected(lab: Lab) -> None:
    """Twenty customers follow their orders when the process is killed; nobody clears their
    sessions, so the one that is started in its place believes it is full."""
    from websockets.sync.client import connect

    with ExitStack() as connections:
        for number in range(1, _SESSIONS + 1):
            connections.enter_context(connect(_url(lab, number), open_timeout=_SECONDS))
        processes.wait_until("the sessions are not registered", lambda: bool(_refused(lab)))
        os.kill(supervision.pid(lab.state(), "live"), signal.SIGKILL)
    processes.wait_until("the killed process is not started again", lambda: "1013" in _said(lab))


def _refused(lab: Lab) -> list[str]:
    said = _said(lab)
    return [f"nobody can follow an order: {said}"] if said else []


def _said(lab: Lab) -> str:
    """Why the next customer is not told about an order; empty when that works."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    try:
        with connect(_url(lab, 7), open_timeout=_SECONDS) as connection:
            connection.recv(timeout=_SECONDS)
    except (OSError, WebSocketException, TimeoutError) as error:
        return str(error) or type(error).__name__
    return ""


def _url(lab: Lab, order: int) -> str:
    return f"ws://127.0.0.1:{lab.state().ports['nginx']}/live?order={order}"


FAULT = Fault(
    name="stale-websockets",
    title="the WebSocket process crashed, and its sessions count as open",
    scenarios=("websocket",),
    cause=_crash_with_everybody_connected,
    symptoms=_refused,
)
