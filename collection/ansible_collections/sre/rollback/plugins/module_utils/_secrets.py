# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets that hide in places which are not secret as a whole: URLs, headers, arguments.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse

_TELLING_NAME = re.compile(
    r"auth|cookie|token|secret|passw|passphrase|api[-_]?key|access[-_]?key|credential|signature"
    r"|session|^sig$|^pwd$|^code$",
    re.IGNORECASE,
)
# Ansible hides a secret wherever its characters appear: "1" would black out every number.
_SHORTEST = 4
_USER_INFO = re.compile(r"://[^/\s:@]*:([^/\s]+)@")
_ASSIGNMENT = re.compile(r"(?:^|[?&;,\s-])([A-Za-z_][\w-]*)=([^&;#\s]+)")
_SCHEME = re.compile(r"^(?:basic|bearer|token|digest|apikey)\s+(?P<secret>.+)$", re.IGNORECASE)


def secrets_in(params: t.Any) -> set[str]:
    """Every value below ``params`` that must not be shown.

    These are credentials in URLs and arguments, and whatever has a telling name.
    """
    found: set[str] = set()
    _collect(params, found)
    return {secret for secret in found if len(secret) >= _SHORTEST}


def _collect(value: t.Any, found: set[str]) -> None:
    if isinstance(value, str):
        found.update(_in_text(value))
    elif isinstance(value, t.Mapping):
        for name, each in value.items():
            if _TELLING_NAME.search(str(name)) and isinstance(each, (str, int, float)):
                _add_named(each, found)
            else:
                _collect(each, found)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _collect(each, found)


def _add_named(value: t.Any, found: set[str]) -> None:
    if isinstance(value, bool):
        return
    text = str(value)
    found.add(text)
    scheme = _SCHEME.match(text)
    if scheme:
        found.add(scheme["secret"])


def _in_text(text: str) -> t.Iterator[str]:
    for secret in _USER_INFO.findall(text):
        yield from _both_forms(secret)
    for name, secret in _ASSIGNMENT.findall(text):
        if _TELLING_NAME.search(name):
            yield from _both_forms(secret)


def _both_forms(secret: str) -> t.Iterator[str]:
    yield secret
    yield urllib.parse.unquote(secret)
    yield urllib.parse.unquote_plus(secret)
