# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user who comes now gets, asked as a user asks: by a request on a connection of its own.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

#: Tells our maintenance answer from another service's 503.
MARKER = "X-Rollback-Maintenance"
_PROBE_SECONDS = 2.0
_PAUSE = 0.01
_LARGEST = 1 << 20
_NOBODY = (ConnectionRefusedError, ssl.SSLError, socket.gaierror)


class TrafficError(RollbackError):
    """Traffic is not as asked for; the message says in which state it was left."""


@dataclass(frozen=True)
class Answer:
    """What a user gets: the status, or 0 and a reason when there is no answer.

    ``nobody`` says that no answer will ever come from this address: nobody listens there, or not
    with TLS. Who is only too slow may be what the traffic is paused for.
    """

    status: int
    maintenance: bool
    text: str = ""
    problem: str = ""
    nobody: bool = False

    @property
    def words(self) -> str:
        if not self.status:
            return f"no answer ({self.problem})"
        return "the maintenance answer" if self.maintenance else f"status {self.status}"


@dataclass(frozen=True)
class Visitor:
    """``expected_text`` is what only the new side's answer holds, in its headers or body."""

    url: str
    validate_certs: bool = True
    expected_status: tuple[int, ...] = ()
    expected_text: str = ""

    def answer(self) -> Answer:
        """What a user who comes now gets."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path, headers={"Connection": "close"})
                response = connection.getresponse()
                body = response.read(_LARGEST)
            except (OSError, http.client.HTTPException) as exc:
                problem = str(exc) or type(exc).__name__
                return Answer(0, False, problem=problem, nobody=isinstance(exc, _NOBODY))
            lines = [f"{name}: {value}" for name, value in response.getheaders()]
            text = "\n".join([*lines, body.decode("utf-8", "replace")])
            return Answer(response.status, response.getheader(MARKER) is not None, text)

    def refuse_wrong_address(self) -> None:
        """Raises TrafficError when nothing could be proved by this URL, before users notice."""
        answer = self.answer()
        if answer.nobody:
            raise TrafficError(
                f"{self.url} gives {answer.words}. Nothing was changed, since nothing could be "
                "proved. Check url, and that the proxy runs."
            )

    def is_expected(self, answer: Answer) -> bool:
        """Whether it is what the new side was said to answer; any answer, when nothing was said."""
        if self.expected_status and answer.status not in self.expected_status:
            return False
        return answer.status > 0 and self._has_text(answer)

    def words(self, answer: Answer) -> str:
        """What was got instead of what was expected."""
        missing = "" if self._has_text(answer) else f" without {self.expected_text!r}"
        return answer.words + missing

    def _has_text(self, answer: Answer) -> bool:
        # Proxies change the case of headers' names.
        return self.expected_text.lower() in answer.text.lower()

    def await_answers(
        self, right: t.Callable[[Answer], bool], *, in_a_row: int, deadline: float
    ) -> Answer | None:
        """Ask until that many answers in a row are right; the wrong one at the deadline, else None.

        ``deadline`` is by the monotonic clock, in seconds.
        """
        found = 0
        while found < in_a_row:
            answer = self.answer()
            found = found + 1 if right(answer) else 0
            if not found and time.monotonic() > deadline:
                return answer
            time.sleep(_PAUSE)
        return None

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=_PROBE_SECONDS)
        context = ssl.create_default_context()
        if not self.validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=_PROBE_SECONDS, context=context)


def visitor_from(params: t.Mapping[str, t.Any]) -> Visitor:
    """From a module's parameters; raises TrafficError for a URL that is none."""
    try:
        parts = urlsplit(params["url"])
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None:
        raise TrafficError(
            "url is not a URL http(s)://host[:port][/path] without a login. Nothing was changed."
        )
    if not 0 < params["timeout"] < math.inf:
        raise TrafficError("timeout must be a number of seconds above 0. Nothing was changed.")
    return Visitor(
        url=params["url"],
        validate_certs=params["validate_certs"],
        expected_status=tuple(params["expected_status"]),
        expected_text=params["expected_text"],
    )
