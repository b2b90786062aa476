# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few questions that probes ask the Docker Engine, over its Unix socket.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import struct
import typing as t
import urllib.parse

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    Options,
    ProbeFailedError,
    ProbeInconclusiveError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import (
    Answer,
    fetch,
    prepare_request,
)


def docker_options() -> dict[str, t.Any]:
    """The options of every kind that asks Docker."""
    return {"docker_host": {"type": "str", "default": "unix:///var/run/docker.sock"}}


class DockerEngine:
    """Docker behind one socket. Whatever keeps it from answering is inconclusive."""

    def __init__(self, options: Options) -> None:
        scheme, _separator, path = options["docker_host"].partition("://")
        if scheme != "unix" or not path.startswith("/"):
            raise ProbeRefusedError("docker_host must be a socket: unix:///path/to/docker.sock")
        self._socket = path

    def containers(self, labels: t.Mapping[str, t.Any], leash: Leash) -> list[str]:
        """The ids of all containers, running or not, that carry the labels."""
        wanted = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        query = urllib.parse.urlencode({"all": "true", "filters": wanted})
        found = self._json(f"/containers/json?{query}", leash)
        if not isinstance(found, list):
            raise ProbeInconclusiveError("Docker did not answer with a list of containers")
        return [each["Id"] for each in found]

    def inspect(self, name: str, leash: Leash) -> t.Mapping[str, t.Any]:
        """What Docker knows about a container. Raises ProbeFailedError when it is not there."""
        known = self._json(f"/containers/{urllib.parse.quote(name, safe='')}/json", leash)
        if not isinstance(known, dict) or not isinstance(known.get("State"), dict):
            raise ProbeInconclusiveError("Docker did not describe the container")
        return known

    def logs(self, name: str, *, since: float, leash: Leash) -> bytes:
        """Both output streams since a time (seconds since the epoch), stamped, as Docker frames."""
        query = urllib.parse.urlencode(
            {"stdout": "true", "stderr": "true", "timestamps": "true", "since": f"{since:.6f}"}
        )
        answer = self._ask(f"/containers/{urllib.parse.quote(name, safe='')}/logs?{query}", leash)
        if not answer.complete:
            raise ProbeInconclusiveError("more was logged since the last look than can be read")
        return answer.body

    def execute(self, name: str, command: t.Sequence[str], leash: Leash) -> tuple[int, str]:
        """Run a command in a container: its exit code, and what it wrote to both streams."""
        streams = {"AttachStdout": True, "AttachStderr": True}
        path = f"/containers/{urllib.parse.quote(name, safe='')}/exec"
        made = self._json(path, leash, post={"Cmd": list(command), **streams})
        started = f"/exec/{made['Id']}"
        answer = self._ask(f"{started}/start", leash, post={"Detach": False, "Tty": False})
        output = b"".join(unframed(answer.body)).decode("utf-8", "replace")
        return int(self._json(f"{started}/json", leash)["ExitCode"]), output

    def _json(self, path: str, leash: Leash, *, post: t.Mapping[str, t.Any] | None = None) -> t.Any:
        try:
            return json.loads(self._ask(path, leash, post=post).body)
        except ValueError:
            raise ProbeInconclusiveError("Docker did not answer in JSON") from None

    def _ask(self, path: str, leash: Leash, *, post: t.Mapping[str, t.Any] | None = None) -> Answer:
        options = {"unix_socket": self._socket, "method": "GET" if post is None else "POST"}
        request = prepare_request(options, url=f"http://docker{path}", body=post)
        try:
            answer = fetch(request, leash)
        except ProbeFailedError as exc:
            raise ProbeInconclusiveError(f"Docker cannot be asked: {exc}") from exc
        if answer.status == 404:
            raise ProbeFailedError("there is no such container")
        if answer.status not in (200, 201):
            raise ProbeInconclusiveError(f"Docker answered with HTTP status {answer.status}")
        return answer


def unframed(raw: bytes) -> t.Iterator[bytes]:
    """The payloads of Docker's frames: stream, three zeros, the length, the payload."""
    position = 0
    while position < len(raw):
        header = raw[position : position + 8]
        if len(header) < 8 or header[1:4] != b"\0\0\0" or header[0] > 2:
            raise ProbeInconclusiveError("Docker sent output that cannot be read")
        (size,) = struct.unpack("!I", header[4:])
        yield raw[position + 8 : position + 8 + size]
        position += 8 + size
