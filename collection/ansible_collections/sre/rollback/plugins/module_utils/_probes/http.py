# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``http``: one request, and what its answer has to be.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.expectation import Expectation
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import (
    METHODS,
    Answer,
    fetch,
    prepare_request,
    read_statuses,
    request_options,
    require_status,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.json_path import (
    Path,
    parse_document,
    parse_path,
    value_at,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.matching import Pattern


def _options() -> dict[str, t.Any]:
    return {
        **request_options(),
        "method": {"type": "str", "default": "GET", "choices": list(METHODS)},
        "body": {"type": "raw"},
        "follow_redirects": {"type": "bool", "default": False},
        "unix_socket": {"type": "path"},
        "status": {"type": "list", "elements": "int", "default": [200]},
        "response_headers": {"type": "dict", "default": {}},
        "text": {"type": "str"},
        "json": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "path": {"type": "str", "required": True},
                "expected": {"type": "raw"},
                "matches": {"type": "str"},
                "min": {"type": "float"},
                "max": {"type": "float"},
            },
        },
        "max_latency": {"type": "float"},
    }


@dataclass(frozen=True)
class Demands:
    """What the answer has to be."""

    status: tuple[int, ...]
    headers: tuple[tuple[str, Pattern], ...]
    text: Pattern | None
    json: tuple[tuple[str, Path, Expectation], ...]
    max_latency: float | None

    @classmethod
    def of(cls, options: Options) -> Demands:
        """Raises ProbeRefusedError."""
        latency = options.get("max_latency")
        if latency is not None and not latency > 0:
            raise ProbeRefusedError("max_latency must be above 0")
        return cls(
            status=read_statuses(options.get("status") or ()),
            headers=tuple(
                (name, Pattern.compile(str(value), f"response_headers.{name}"))
                for name, value in (options.get("response_headers") or {}).items()
            ),
            text=Pattern.compile(options["text"], "text") if options.get("text") else None,
            json=tuple(
                (each["path"], parse_path(each["path"]), Expectation.of(each))
                for each in options.get("json") or ()
            ),
            max_latency=latency,
        )

    def check(self, answer: Answer, leash: Leash) -> None:
        """Raise ProbeFailedError or ProbeInconclusiveError unless the answer is as demanded."""
        require_status(answer, self.status)
        self._check_headers(answer, leash)
        if self.text is not None and not self.text.found_in(answer.text(), leash):
            raise ProbeFailedError(f"the answer does not contain {self.text.text!r}")
        if self.json:
            self._check_json(answer, leash)
        if self.max_latency is not None and answer.latency > self.max_latency:
            raise ProbeFailedError(
                f"answered after {answer.latency:.3f} s, allowed are {self.max_latency:g} s"
            )

    def _check_headers(self, answer: Answer, leash: Leash) -> None:
        for name, pattern in self.headers:
            value = answer.headers.get(name.lower())
            if value is None:
                raise ProbeFailedError(f"the answer has no header {name}")
            if not pattern.found_in(value, leash):
                raise ProbeFailedError(f"the header {name} does not match {pattern.text!r}")

    def _check_json(self, answer: Answer, leash: Leash) -> None:
        document = parse_document(answer.text())
        for text, path, expectation in self.json:
            expectation.check(value_at(document, path, text), text, leash)


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    request = prepare_request(options, body=options.get("body"))
    demands = Demands.of(options)

    def probe(leash: Leash) -> None:
        demands.check(fetch(request, leash), leash)

    return probe


KIND = Kind("http", _options, prepare)
