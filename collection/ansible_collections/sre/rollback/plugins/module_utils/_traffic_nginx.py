# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users kept out and let in again by nginx: a file that the server block includes.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import subprocess
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

#: Tells our maintenance answer from another service's 503.
MARKER = "X-Rollback-Maintenance"
_HEAD = b"# Traffic is paused by sre.rollback.traffic; it is resumed by the same module.\n"
_FOUND = ".found"
_PROBE_SECONDS = 2.0
_PAUSE = 0.01
#: Old workers may still take a connection for a moment after a reload: so many answers in a row,
#: a pause apart.
_PROOFS = 10


class TrafficError(RollbackError):
    """Traffic is not as asked for; the message says in which state it was left."""


@dataclass(frozen=True)
class Answer:
    """What a user gets: the status, or 0 and a reason when there is no answer."""

    status: int
    maintenance: bool
    problem: str = ""

    @property
    def words(self) -> str:
        if not self.status:
            return f"no answer ({self.problem})"
        return "the maintenance answer" if self.maintenance else f"status {self.status}"


@dataclass(frozen=True)
class Nginx:
    """One nginx, and the file in its configuration that is ours."""

    argv: tuple[str, ...]
    maintenance_path: str
    url: str
    retry_after: int
    timeout: float
    validate_certs: bool

    @property
    def found_path(self) -> str:
        """What the file held before the pause."""
        return self.maintenance_path + _FOUND

    def is_paused(self) -> bool:
        """Whether the file says so; whether users get it is another question."""
        return (_atomic_file.read(self.maintenance_path) or b"").startswith(_HEAD)

    def pause(self) -> None:
        """Raises TrafficError; users get what they got before then."""
        content = _atomic_file.read(self.maintenance_path) or b""
        if not content.startswith(_HEAD):
            _atomic_file.replace(self.found_path, content)
        else:
            content = _atomic_file.read(self.found_path) or b""
        self._switch(self._maintenance(), otherwise=content, maintenance=True)

    def resume(self) -> None:
        """Raises TrafficError; users get what they got before then."""
        before = _atomic_file.read(self.maintenance_path) or b""
        found = _atomic_file.read(self.found_path)
        if before.startswith(_HEAD) or found is not None:
            self._switch(found or b"", otherwise=before, maintenance=False)
        else:
            self._reload()
            self._prove(maintenance=False)
        _atomic_file.remove(self.found_path)

    def answer(self) -> Answer:
        """What a user who comes now gets, on a connection of its own."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path, headers={"Connection": "close"})
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as exc:
                return Answer(0, False, str(exc) or type(exc).__name__)
            return Answer(response.status, response.getheader(MARKER) is not None)

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=_PROBE_SECONDS)
        context = ssl.create_default_context()
        if not self.validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=_PROBE_SECONDS, context=context)

    def _maintenance(self) -> bytes:
        text = (
            f"add_header {MARKER} 1 always;\n"
            f"add_header Retry-After {self.retry_after} always;\n"
            "add_header Cache-Control no-store always;\n"
            "default_type text/plain;\n"
            'return 503 "We are mending something and will be back in a moment.\\n";\n'
        )
        return _HEAD + text.encode()

    def _switch(self, content: bytes, *, otherwise: bytes, maintenance: bool) -> None:
        """Write, test, reload, prove; what was there comes back when any of it fails."""
        _atomic_file.replace(self.maintenance_path, content)
        try:
            self._test()
        except TrafficError:
            _atomic_file.replace(self.maintenance_path, otherwise)
            raise
        try:
            self._reload()
            self._prove(maintenance=maintenance)
        except TrafficError:
            _atomic_file.replace(self.maintenance_path, otherwise)
            with contextlib.suppress(TrafficError):
                self._reload()
            raise

    def _test(self) -> None:
        done = self._run("-t")
        if done.returncode != 0:
            raise TrafficError(
                f"nginx refuses the configuration: {_words(done)}. The file was put back and nginx "
                "was not reloaded; users get what they got before.",
                stderr=done.stderr[-2000:],
            )

    def _reload(self) -> None:
        done = self._run("-s", "reload")
        if done.returncode != 0:
            raise TrafficError(
                f"nginx cannot be reloaded: {_words(done)}. The file was put back. Is nginx "
                "running, and with this configuration?",
                stderr=done.stderr[-2000:],
            )

    def _prove(self, *, maintenance: bool) -> None:
        deadline = time.monotonic() + self.timeout
        in_a_row = 0
        while in_a_row < _PROOFS:
            answer = self.answer()
            right = answer.status > 0 and answer.maintenance is maintenance
            in_a_row = in_a_row + 1 if right else 0
            if not right and time.monotonic() > deadline:
                raise TrafficError(
                    f"nginx was reloaded, but {self.url} still gives {answer.words}. The file was "
                    f"put back. Does the server block of this URL include {self.maintenance_path}?"
                )
            time.sleep(_PAUSE)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self.argv, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise TrafficError(
                f"{self.argv[0]} cannot be run: {exc}. Users get what they got before."
            ) from exc


def nginx_from(params: t.Mapping[str, t.Any]) -> Nginx:
    """From a module's parameters; raises TrafficError for those that make no sense."""
    parts = urlsplit(params["url"])
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TrafficError(f"{params['url']!r} is not a URL. Nothing was changed.")
    if params["retry_after"] < 0 or params["timeout"] <= 0:
        raise TrafficError("retry_after and timeout must not be negative. Nothing was changed.")
    prefix = ["-p", params["prefix"]] if params["prefix"] else []
    return Nginx(
        argv=(*params["command"], params["binary"], *prefix, "-c", params["config"]),
        maintenance_path=params["maintenance_path"],
        url=params["url"],
        retry_after=params["retry_after"],
        timeout=params["timeout"],
        validate_certs=params["validate_certs"],
    )


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if "[emerg]" in line]
    return (lines or [done.stderr.strip() or f"exit status {done.returncode}"])[-1]
