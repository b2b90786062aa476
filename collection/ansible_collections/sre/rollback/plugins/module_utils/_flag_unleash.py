# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Flags of an Unleash server, switched in one environment through its admin API.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

from ansible.module_utils.urls import open_url

from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import (
    Change,
    Evaluation,
    FlagError,
    UnchangedError,
    as_boolean,
)

_PAUSE = 0.1
#: The server keeps what it tells clients for a moment.
_CACHED = 5.0
_REASONS = {
    401: "the token is not accepted",
    403: "the token has not got the right to do this",
    404: "there is no such project, environment or flag",
}


@dataclass(frozen=True)
class Server:
    """Where the API is, and who asks it."""

    url: str
    api_token: str
    client_token: str | None
    project: str
    environment: str
    validate_certs: bool
    ca_certs: str | None
    timeout: float

    def ask(self, method: str, path: str, *, token: str | None = None) -> t.Any:
        """The answer's JSON, or None when it has no body. Raises FlagError."""
        url = self.url.rstrip("/") + path
        headers = {"Authorization": token or self.api_token, "Accept": "application/json"}
        body = None
        if method == "POST":
            headers["Content-Type"], body = "application/json", b"{}"
        try:
            with open_url(
                url,
                method=method,
                data=body,
                headers=headers,
                timeout=self.timeout,
                validate_certs=self.validate_certs,
                ca_path=self.ca_certs,
                follow_redirects="no",
            ) as response:
                content = response.read()
            return json.loads(content) if content.strip() else None
        except HTTPError as exc:
            with exc:
                reason = _REASONS.get(exc.code) or exc.read(300).decode("utf-8", "replace")
            raise FlagError(f"Unleash answers {exc.code} to {method} {path}: {reason}.") from exc
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "reason", None) or exc
            raise FlagError(f"Unleash at {self.url} cannot be asked: {reason}.") from exc


class Unleash:
    """The flags of one project, in one environment. ``poll_interval`` is the slowest client's."""

    def __init__(self, server: Server, *, poll_interval: float) -> None:
        self._server = server
        self.place = {
            "url": server.url,
            "project": server.project,
            "environment": server.environment,
        }
        self.visible_within = poll_interval

    def plan(self, flags: t.Mapping[str, t.Any]) -> Change:
        """Each flag enabled or disabled. Which variant a client gets is for its strategies."""
        wanted = {}
        for name, state in flags.items():
            value = as_boolean(state)
            if value is None:
                raise FlagError(
                    f"flag {name!r} can be true or false in Unleash, not {state!r}: its "
                    "strategies choose the variant. Nothing was changed."
                )
            wanted[name] = {"enabled": value}
        return self.plan_definitions(wanted)

    def plan_definitions(self, definitions: t.Mapping[str, t.Any]) -> Change:
        before = {name: self._flag(name) for name in definitions}
        after = {
            name: {**before[name], "enabled": bool(flag.get("enabled"))}
            for name, flag in definitions.items()
        }
        return Change(before, after)

    def rehearse(self, change: Change) -> None:
        """The server checks what it is told itself."""

    def apply(self, change: Change) -> None:
        """One flag after the other; those before one that is refused are put back."""
        done: list[str] = []
        for name in change.touched:
            try:
                self._set(name, change.after[name]["enabled"])
            except FlagError as exc:
                self._put_back(done, change, exc)
                put_back = f"Put back: {', '.join(done)}." if done else "Nothing is changed."
                raise UnchangedError(f"{exc} {put_back}") from exc
            done.append(name)

    def evaluated(self, names: t.Iterable[str]) -> Evaluation:
        """As clients are told, when there is a token of a client; else as the server keeps it."""
        if self._server.client_token is None:
            found = {name: self._flag(name)["enabled"] for name in names}
            return Evaluation(found, "Unleash's admin API")
        wanted = {name: self._flag(name)["enabled"] for name in names}
        deadline = time.monotonic() + _CACHED
        while True:
            told = self._told()
            found = {name: told.get(name, False) for name in wanted}
            if found == wanted or time.monotonic() > deadline:
                return Evaluation(found, "Unleash's client API")
            time.sleep(_PAUSE)

    def expected(self, change: Change) -> dict[str, t.Any]:
        return {name: flag["enabled"] for name, flag in change.after.items()}

    def _put_back(self, done: t.Sequence[str], change: Change, refusal: FlagError) -> None:
        for name in reversed(done):
            try:
                self._set(name, change.before[name]["enabled"])
            except FlagError as exc:
                raise FlagError(
                    f"{refusal} Of the flags before it, {', '.join(done)} could not all be put "
                    f"back: {exc}"
                ) from exc

    def _path(self, name: str) -> str:
        return f"/api/admin/projects/{_quoted(self._server.project)}/features/{_quoted(name)}"

    def _set(self, name: str, enabled: bool) -> None:
        switch = "on" if enabled else "off"
        environment = _quoted(self._server.environment)
        self._server.ask("POST", f"{self._path(name)}/environments/{environment}/{switch}")

    def _flag(self, name: str) -> dict[str, t.Any]:
        """Whether it is enabled, and the names of its strategies."""
        answer = self._server.ask("GET", self._path(name))
        found = answer.get("environments", []) if isinstance(answer, dict) else []
        for each in found:
            if each.get("name") == self._server.environment:
                strategies = [str(one.get("name")) for one in each.get("strategies") or []]
                return {"enabled": bool(each.get("enabled")), "strategies": strategies}
        known = ", ".join(str(each.get("name")) for each in found) or "none"
        raise FlagError(
            f"flag {name!r} has no environment {self._server.environment!r} (it has: {known}). "
            "Nothing was changed."
        )

    def _told(self) -> dict[str, bool]:
        answer = self._server.ask("GET", "/api/client/features", token=self._server.client_token)
        features = answer.get("features", []) if isinstance(answer, dict) else []
        return {str(each.get("name")): bool(each.get("enabled")) for each in features}


def server_from(params: t.Mapping[str, t.Any]) -> Server:
    """From a module's parameters. Raises FlagError."""
    parts = urlsplit(params["url"])
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise FlagError(
            "url must be http(s)://host[:port][/path], without a login. Nothing was changed."
        )
    return Server(
        url=params["url"],
        api_token=params["api_token"],
        client_token=params["client_token"],
        project=params["project"],
        environment=params["environment"],
        validate_certs=params["validate_certs"],
        ca_certs=params["ca_certs"],
        timeout=params["timeout"],
    )


def _quoted(text: str) -> str:
    return quote(text, safe="")
