# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users kept out, let in again, or sent to the other side by nginx: files that it includes.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._traffic_nginx_program import (
    NginxProgram,
)
from ansible_collections.sre.rollback.plugins.module_utils._traffic_visitor import (
    MARKER,
    Answer,
    TrafficError,
    Visitor,
    visitor_from,
)

_HEAD = b"# Traffic is paused by sre.rollback.traffic; it is resumed by the same module.\n"
_ABSENT = b"# There was no file when sre.rollback.traffic paused the traffic.\n"
_MAINTENANCE_STATUS = 503
#: Right answers in a row: when the old workers are known to be gone, and when nobody can tell.
_PROOFS, _PROOFS_BLIND = 3, 30


class _DoubtError(TrafficError):
    """Nobody knows whether nginx has what was put back."""


@dataclass(frozen=True)
class Nginx:
    """One nginx, and the files in its configuration that are ours."""

    state: str
    program: NginxProgram
    visitor: Visitor
    maintenance_path: str
    upstream_path: str
    upstream: str
    retry_after: int
    place: t.Mapping[str, t.Any]

    def observe(self) -> dict[str, t.Any]:
        """What users get, and what the file says: the two differ when a run was killed between."""
        answer = self.visitor.answer()
        found = {"paused": answer.maintenance, "status": answer.status}
        if self.state == "switched":
            found["upstream"] = self._upstream_found()
            found["configured"] = "switched" if found["upstream"] == self.upstream else "other"
        else:
            found["configured"] = "paused" if self._is_paused() else "resumed"
        return found

    def is_as_asked(self, found: t.Mapping[str, t.Any]) -> bool:
        """One right answer proves it only when nobody was killed before the proof was complete."""
        if self._unproved().exists() or found["configured"] != self.state or not found["status"]:
            return False
        return self.state == "switched" or found["paused"] is (self.state == "paused")

    def predict(self, found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        if self.state == "switched":
            return {**found, "upstream": self.upstream, "configured": self.state, "status": None}
        status = _MAINTENANCE_STATUS if self.state == "paused" else None
        return {"paused": self.state == "paused", "status": status, "configured": self.state}

    def bring(self) -> None:
        """Raises RollbackError; users get what they got before then."""
        self.visitor.refuse_wrong_address()
        {"paused": self._pause, "resumed": self._resume, "switched": self._switch}[self.state]()

    def undo(self, found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        if self.state == "switched":
            return {"state": "switched", "upstream": found["upstream"]}
        return {"state": "resumed" if self.state == "paused" else "paused"}

    def _upstream_found(self) -> str:
        try:
            return (_atomic_file.read(self.upstream_path) or b"").decode("utf-8")
        except UnicodeDecodeError as exc:
            raise TrafficError(
                f"{self.upstream_path} is not UTF-8: {exc}. Nothing was changed."
            ) from exc

    def _is_paused(self) -> bool:
        return (_atomic_file.read(self.maintenance_path) or b"").startswith(_HEAD)

    def _found_path(self) -> str:
        """What the maintenance file held before the pause. Hidden, so that no include finds it."""
        path = Path(self.maintenance_path)
        return str(path.with_name(f".{path.name}.found"))

    def _unproved(self) -> Path:
        """Is there from before a change until it is proved."""
        path = Path(self.upstream_path if self.state == "switched" else self.maintenance_path)
        return path.with_name(f".{path.name}.unproved")

    def _pause(self) -> None:
        if self._is_paused():
            self._change(self.maintenance_path, self._maintenance(), _is_maintenance)
            return
        content = _atomic_file.read(self.maintenance_path)
        _atomic_file.replace(self._found_path(), _ABSENT if content is None else content)
        try:
            self._change(self.maintenance_path, self._maintenance(), _is_maintenance)
        except RollbackError:
            _atomic_file.remove(self._found_path())
            raise

    def _resume(self) -> None:
        """What is there without a pause stays, whatever a pause that was killed has found."""
        content = _atomic_file.read(self.maintenance_path)
        if self._is_paused():
            found = _atomic_file.read(self._found_path())
            content = None if found == _ABSENT else found or b""
        self._change(self.maintenance_path, content, _is_service)
        _atomic_file.remove(self._found_path())

    def _switch(self) -> None:
        """While traffic is paused nobody gets through; that nginx took it has to do then."""

        def right(answer: Answer) -> bool:
            return answer.maintenance or self.visitor.is_expected(answer)

        self._change(self.upstream_path, self.upstream.encode(), right)

    def _maintenance(self) -> bytes:
        text = (
            f"add_header {MARKER} 1 always;\n"
            f"add_header Retry-After {self.retry_after} always;\n"
            "add_header Cache-Control no-store always;\n"
            "default_type text/plain;\n"
            'return 503 "We are mending something and will be back in a moment.\\n";\n'
        )
        return _HEAD + text.encode()

    def _change(self, path: str, content: bytes | None, right: t.Callable[[Answer], bool]) -> None:
        """Write, test, reload, prove; what was there comes back when any of it fails."""
        before = _atomic_file.read(path)
        with self._unproved_meanwhile():
            _write(path, content)
            try:
                configuration = self.program.test()
            except TrafficError:
                _write(path, before)
                raise
            try:
                self._reload_and_prove(path, configuration, right)
            except TrafficError as exc:
                _write(path, before)
                self._reload_back(configuration, exc)
                raise

    @contextlib.contextmanager
    def _unproved_meanwhile(self) -> t.Iterator[None]:
        """Who is killed meanwhile leaves a mark. So does whoever leaves nginx in doubt."""
        mark = self._unproved()
        found = mark.exists()
        _mark(mark)
        try:
            yield
        except _DoubtError:
            raise
        except RollbackError:
            if not found:
                mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)

    def _reload_back(self, configuration: str, failure: TrafficError) -> None:
        """Until users get what they got before. Raises _DoubtError."""
        try:
            self.program.reload_until_old_workers_are_gone(configuration)
        except TrafficError as exc:
            raise _DoubtError(
                f"{failure} But what users get now is not known: {exc} Reload nginx."
            ) from exc

    def _reload_and_prove(
        self, path: str, configuration: str, right: t.Callable[[Answer], bool]
    ) -> None:
        deadline = time.monotonic() + self.program.timeout
        gone = self.program.reload_until_old_workers_are_gone(configuration)
        in_a_row = _PROOFS if gone else _PROOFS_BLIND
        wrong = self.visitor.await_answers(right, in_a_row=in_a_row, deadline=deadline)
        if wrong is not None:
            raise TrafficError(
                f"nginx was reloaded, but {self.visitor.url} still gives "
                f"{self.visitor.words(wrong)}. The file was put back. Is {path} included in the "
                "configuration of this URL?"
            )


def nginx_from(params: t.Mapping[str, t.Any]) -> Nginx:
    """From a module's parameters; raises TrafficError for those that make no sense."""
    visitor = visitor_from(params)
    if params["retry_after"] < 0:
        raise TrafficError("retry_after must not be negative. Nothing was changed.")
    wanted = (
        ["upstream_path", "upstream"] if params["state"] == "switched" else ["maintenance_path"]
    )
    missing = [name for name in wanted if params[name] is None]
    if missing:
        raise TrafficError(
            f"nginx needs {' and '.join(missing)} to be {params['state']}. Nothing was changed."
        )
    prefix = ["-p", params["prefix"]] if params["prefix"] else []
    names = ("binary", "config", "prefix", "command", *wanted[:1])
    return Nginx(
        state=params["state"],
        program=NginxProgram(
            argv=(*params["command"], params["binary"], *prefix, "-c", params["config"]),
            prefix=params["prefix"] or "/",
            is_local=not params["command"],
            timeout=params["timeout"],
        ),
        visitor=visitor,
        maintenance_path=params["maintenance_path"] or "",
        upstream_path=params["upstream_path"] or "",
        upstream=params["upstream"] or "",
        retry_after=params["retry_after"],
        place={name: params[name] for name in names if params[name]},
    )


def _is_maintenance(answer: Answer) -> bool:
    return answer.maintenance


def _is_service(answer: Answer) -> bool:
    return answer.status > 0 and not answer.maintenance


def _write(path: str, content: bytes | None) -> None:
    if content is None:
        _atomic_file.remove(path)
    else:
        _atomic_file.replace(path, content)


def _mark(path: Path) -> None:
    try:
        path.touch()
    except OSError as exc:
        raise TrafficError(
            f"{path} cannot be written: {exc.strerror}. Nothing was changed."
        ) from exc
