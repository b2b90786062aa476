"""The lab's supervisor, over its XML-RPC interface on loopback.

Every answer is waited for with a limit: after a crash, a stranger may listen on the port.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import xmlrpc.client
from base64 import b64encode
from contextlib import suppress
from typing import Any

from rollback_playbook.errors import RollbackError
from rollback_playbook.lab.configuration import supervisor_program
from rollback_playbook.lab.places import Lab, LabState

_ANSWER_SECONDS = 3.0
#: Starting and stopping wait for the program; supervisor kills it after 10 s.
_ACT_SECONDS = 40.0
_START_SECONDS = 30
# Faults of supervisor.xmlrpc: the program is in the state that was asked for.
_ALREADY_STARTED, _NOT_RUNNING = 60, 70


class _Transport(xmlrpc.client.Transport):
    def __init__(self, state: LabState, seconds: float) -> None:
        login = b64encode(f"lab:{state.supervisor_password}".encode()).decode()
        super().__init__(headers=[("Authorization", f"Basic {login}")])
        self._seconds = seconds

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(host, timeout=self._seconds)
        # The base class closes what stands here.
        self._connection = (host, connection)
        return connection


class _UnreachableError(Exception):
    """Nobody answers, or somebody who is not the lab's supervisor."""


def _call(state: LabState, method: str, *arguments: object, seconds: float = _ACT_SECONDS) -> Any:
    """Raises _UnreachableError, or xmlrpc.client.Fault with supervisor's words."""
    address = f"http://127.0.0.1:{state.ports['supervisor']}/RPC2"
    transport = _Transport(state, seconds)
    try:
        with xmlrpc.client.ServerProxy(address, transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)
    except xmlrpc.client.Fault:
        raise
    # A stranger may answer with anything, XML that is none included.
    except (OSError, http.client.HTTPException, xmlrpc.client.Error, ValueError) as error:
        raise _UnreachableError(str(error)) from error


def supervisor_answers(state: LabState) -> bool:
    """Whether the lab's supervisor is there and not about to end."""
    try:
        found = _call(state, "getState", seconds=_ANSWER_SECONDS)
    except (_UnreachableError, xmlrpc.client.Fault):
        return False
    return isinstance(found, dict) and found.get("statename") == "RUNNING"


def programs(state: LabState) -> dict[str, str]:
    """What supervisor says of each program, as ``supervisorctl status`` does.

    Empty when it does not answer.
    """
    try:
        found = _call(state, "getAllProcessInfo", seconds=_ANSWER_SECONDS)
    except (_UnreachableError, xmlrpc.client.Fault):
        return {}
    return {each["name"]: f"{each['statename']} {each['description']}".strip() for each in found}


def pid(state: LabState, program: str) -> int:
    """The process of a program that runs; raises RollbackError when it does not."""
    found = _call(state, "getProcessInfo", program, seconds=_ANSWER_SECONDS)
    if not found["pid"]:
        raise RollbackError(f"the lab's {program} does not run: {found['statename']}")
    return int(found["pid"])


def kill(state: LabState, program: str) -> None:
    """End a program and its children as a power cut does, without starting it again."""
    with suppress(RollbackError, ProcessLookupError):
        os.killpg(pid(state, program), signal.SIGKILL)
    stop(state, program)


def start(state: LabState, program: str) -> None:
    """Start a program and wait for it; one that runs is left alone."""
    _act(state, "start", program, unless=_ALREADY_STARTED)


def stop(state: LabState, program: str) -> None:
    """Stop a program and wait for its end; one that is stopped is left alone."""
    _act(state, "stop", program, unless=_NOT_RUNNING)


def _act(state: LabState, verb: str, program: str, *, unless: int) -> None:
    try:
        _call(state, f"{verb}Process", program)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != unless:
            raise RollbackError(
                f"the lab's {program} did not {verb}: {fault.faultString}"
            ) from fault
    except _UnreachableError as error:
        raise RollbackError(
            f"the lab's supervisor does not answer, {program} did not {verb}: {error}",
            hint="rollback-playbook lab up",
        ) from error


def shut_down(state: LabState) -> bool:
    """Ask the supervisor to stop everything and end; False when it does not answer."""
    try:
        _call(state, "shutdown", seconds=_ANSWER_SECONDS)
    except _UnreachableError:
        return False
    except xmlrpc.client.Fault:
        # SHUTDOWN_STATE: it has been told before.
        return True
    return True


def launch(lab: Lab) -> None:
    """Start supervisord as a daemon; raises RollbackError with its words when it does not."""
    try:
        done = subprocess.run(
            [supervisor_program("supervisord"), "-c", str(lab.supervisor_config)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RollbackError(f"the lab's supervisor did not start: {error}") from error
    if done.returncode != 0:
        raise RollbackError(
            f"the lab's supervisor did not start: {done.stderr.strip() or done.stdout.strip()}",
            hint=f"its log is {lab.logs / 'supervisord.log'}",
        )
