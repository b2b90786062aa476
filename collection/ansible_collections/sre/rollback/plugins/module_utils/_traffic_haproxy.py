# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users kept out, let in again, or sent to the other side by HAProxy: the states of its servers.

The runtime API changes them at once. A reload begins a new process, which reads them from the state
file that is written here (``server-state-file`` and ``load-server-state-from-file global``).

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._haproxy import (
    DRAIN,
    MAINT,
    READY,
    RuntimeApi,
    parse_servers,
    states_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._traffic_visitor import (
    Answer,
    TrafficError,
    Visitor,
    visitor_from,
)

_STATES = (READY, DRAIN, MAINT)
_UNAVAILABLE = 503
_PROOFS = 3
_PAUSE = 0.02


@dataclass(frozen=True)
class Haproxy:
    """One backend of one HAProxy. ``wanted`` are its servers' states with ``switched``."""

    state: str
    api: RuntimeApi
    backend: str
    visitor: Visitor
    state_path: str
    pause_with: str
    wanted: t.Mapping[str, str]
    timeout: float
    place: t.Mapping[str, t.Any]

    def observe(self) -> dict[str, t.Any]:
        """The states of the backend's servers, and what users get."""
        servers = self._states()
        return {
            "paused": READY not in servers.values(),
            "status": self.visitor.answer().status,
            "servers": servers,
        }

    def is_as_asked(self, found: t.Mapping[str, t.Any]) -> bool:
        if found["servers"] != self._target(found["servers"]):
            return False
        if self.state == "resumed":
            return not Path(self._found_path()).exists()
        return self._is_kept(found["servers"])

    def predict(self, found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        servers = self._target(found["servers"])
        return {"paused": READY not in servers.values(), "status": None, "servers": servers}

    def bring(self) -> None:
        """Raises RollbackError; a backend that did not answer as it should has its old states."""
        before = self._states()
        target = self._target(before)
        self.visitor.refuse_wrong_address()
        # Whether the file can be written is known before any user notices.
        self._keep()
        remembered = self.state == "paused" and self._remember(before)
        try:
            self._set(before, target)
            self._keep()
            self._prove(target)
        except RollbackError:
            self._set(self._states(), before)
            with contextlib.suppress(RollbackError):
                self._keep()
            if remembered:
                _atomic_file.remove(self._found_path())
            raise
        if self.state == "resumed":
            _atomic_file.remove(self._found_path())

    def undo(self, found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        if self.state == "paused":
            return {"state": "resumed"}
        return {"state": "switched", "servers": dict(found["servers"])}

    def _states(self) -> dict[str, str]:
        prefix = f"{self.backend}/"
        states = states_of(self.api.servers())
        found = {
            name[len(prefix) :]: each for name, each in states.items() if name.startswith(prefix)
        }
        if not found:
            known = ", ".join(sorted({name.partition("/")[0] for name in states})) or "none"
            raise TrafficError(
                f"HAProxy has no backend {self.backend!r} with servers (it has: {known}). Nothing "
                "was changed."
            )
        return found

    def _target(self, servers: t.Mapping[str, str]) -> dict[str, str]:
        """The state that each server shall have."""
        if self.state == "paused":
            return {name: _out(each, self.pause_with) for name, each in servers.items()}
        if self.state == "resumed":
            found = self._remembered()
            return {name: found.get(name, each) for name, each in servers.items()}
        unknown = sorted(set(self.wanted) - set(servers))
        if unknown:
            raise TrafficError(
                f"backend {self.backend!r} has no server {unknown[0]!r} (it has: "
                f"{', '.join(sorted(servers))}). Nothing was changed."
            )
        return {**servers, **self.wanted}

    def _set(self, before: t.Mapping[str, str], target: t.Mapping[str, str]) -> None:
        """Those that are to serve come first, and the others only once they are up."""
        changes = [name for name in target if target[name] != before.get(name)]
        coming = [name for name in changes if target[name] == READY]
        for name in coming:
            self.api.set_state(f"{self.backend}/{name}", READY)
        leaving = [name for name in changes if name not in coming]
        if coming and leaving:
            self._await_up(coming)
        for name in leaving:
            self.api.set_state(f"{self.backend}/{name}", target[name])

    def _await_up(self, names: t.Sequence[str]) -> None:
        deadline = time.monotonic() + self.timeout
        while True:
            servers = self.api.servers()
            down = [name for name in names if not servers[f"{self.backend}/{name}"].is_up]
            if not down:
                return
            if time.monotonic() > deadline:
                raise TrafficError(
                    f"server {down[0]!r} of backend {self.backend!r} does not come up within "
                    f"{self.timeout:g} s. All servers are in the state that they had."
                )
            time.sleep(_PAUSE)

    def _keep(self) -> None:
        """For the next process, after a reload."""
        _atomic_file.replace(self.state_path, self.api.dump().encode())

    def _is_kept(self, servers: t.Mapping[str, str]) -> bool:
        content = _atomic_file.read(self.state_path)
        if content is None:
            return False
        try:
            kept = states_of(parse_servers(content.decode("utf-8", "replace")))
        except (ValueError, IndexError, KeyError):
            return False
        return all(kept.get(f"{self.backend}/{name}") == each for name, each in servers.items())

    def _prove(self, target: t.Mapping[str, str]) -> None:
        found = self._states()
        wrong = sorted(name for name in target if found.get(name) != target[name])
        if wrong:
            raise TrafficError(
                f"server {wrong[0]!r} was set to {target[wrong[0]]}, but is "
                f"{found.get(wrong[0], 'gone')}. Does somebody else set it, too?"
            )
        serves = READY in target.values()

        def right(answer: Answer) -> bool:
            if self.state == "switched" or self.visitor.expected_status:
                return self.visitor.is_expected(answer)
            return answer.status > 0 and (answer.status != _UNAVAILABLE) is serves

        deadline = time.monotonic() + self.timeout
        answer = self.visitor.await_answers(right, in_a_row=_PROOFS, deadline=deadline)
        if answer is not None:
            raise TrafficError(
                f"backend {self.backend!r} was {self.state}, but {self.visitor.url} gives "
                f"{self.visitor.words(answer)}. All servers are in the state that they had. Does "
                "this URL come to this backend, and what should it answer (expected_status)?"
            )

    def _found_path(self) -> str:
        """The states before the pause."""
        path = Path(self.state_path)
        return str(path.with_name(f".{path.name}.{self.backend}.found"))

    def _remembered(self) -> dict[str, str]:
        content = _atomic_file.read(self._found_path())
        try:
            found = json.loads(content) if content is not None else {}
            return {str(name): _checked(state) for name, state in found.items()}
        except (ValueError, AttributeError) as exc:
            raise TrafficError(
                f"{self._found_path()} does not say what the pause found: {exc}. Nothing was "
                "changed. Set the servers with state=switched and remove the file."
            ) from exc

    def _remember(self, before: t.Mapping[str, str]) -> bool:
        """False when what a pause found that was killed, or is in force, is there and is kept."""
        found = self._remembered()
        if any(before.get(name) != state for name, state in found.items()):
            return False
        _atomic_file.replace(self._found_path(), json.dumps(dict(before)).encode(), mode=0o600)
        return True


def haproxy_from(params: t.Mapping[str, t.Any]) -> Haproxy:
    """From a module's parameters; raises TrafficError for those that make no sense."""
    visitor = visitor_from(params)
    wanted = params["servers"] or {}
    if params["state"] == "switched" and not wanted:
        raise TrafficError("state=switched with haproxy needs servers. Nothing was changed.")
    try:
        wanted = {str(name): _checked(state) for name, state in wanted.items()}
    except ValueError as exc:
        raise TrafficError(f"servers: {exc}. Nothing was changed.") from exc
    names = ("haproxy_socket", "backend", "server_state_path")
    return Haproxy(
        state=params["state"],
        api=RuntimeApi(params["haproxy_socket"], params["timeout"]),
        backend=params["backend"],
        visitor=visitor,
        state_path=params["server_state_path"],
        pause_with=params["pause_with"],
        wanted=wanted,
        timeout=params["timeout"],
        place={name: params[name] for name in names},
    )


def _out(state: str, pause_with: str) -> str:
    """A server that is out already stays as it is, unless draining does not go far enough."""
    return pause_with if state == READY or pause_with == MAINT else state


def _checked(state: t.Any) -> str:
    if state not in _STATES:
        raise ValueError(f"{state!r} is none of {', '.join(_STATES)}")
    return str(state)
