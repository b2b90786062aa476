# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the checks of a gate would be judged by, as it was served.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import threading
import time
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.sre.rollback.plugins.module_utils._probes import metrics, prometheus
from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    LeashExpiredError,
    Options,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import (
    Request,
    fetch,
    prepare_request,
    require_status,
)

#: A graph of so many points shows what the last hour was like.
_RANGE_SECONDS = 3600
_STEP_SECONDS = 30


@dataclass(frozen=True)
class Page:
    """One page, and the names of the checks that it is for."""

    file: str
    #: Without credentials.
    url: str
    request: Request
    query: str
    checks: list[str]


@dataclass(frozen=True)
class Served:
    """What came of reading a page: its body, or why there is none."""

    page: Page
    body: bytes = b""
    error: str = ""


def pages_of(checks: t.Iterable[t.Mapping[str, t.Any]], *, now: float) -> list[Page]:
    """The pages of the checks that have one, each once; raises ProbeRefusedError.

    Of Prometheus it is the last hour of the query: its answers of now say little by themselves.
    """
    pages: dict[tuple[t.Any, ...], Page] = {}
    for check in checks:
        for kind in (metrics.KIND, prometheus.KIND):
            if check.get(kind.name):
                options = _validated(check, kind.name, kind.options())
                request, query = _request(options, now)
                known = (request.scheme, request.where, request.path, *request.headers.items())
                file, shown = _file(kind.name, len(pages)), _shown(options["url"])
                page = pages.setdefault(known, Page(file, shown, request, query, []))
                page.checks.append(str(check.get("name", "")))
    return list(pages.values())


def read_all(pages: t.Sequence[Page], seconds: float) -> list[Served]:
    """Read them at the same time; ends when the seconds are over, whatever hangs."""
    leash = Leash(seconds)
    served: dict[str, Served] = {}

    def read(page: Page) -> None:
        served[page.file] = _read(page, leash)

    # Daemons: nothing ends a thread that waits for a name server.
    readers = [threading.Thread(target=read, args=(page,), daemon=True) for page in pages]
    ends = time.monotonic() + seconds
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(max(0.0, ends - time.monotonic()))
    leash.expire()
    # One that comes now comes too late: what is returned does not change any more.
    return [served.get(page.file) or Served(page, error=leash.verdict) for page in pages]


def _read(page: Page, leash: Leash) -> Served:
    try:
        answer = fetch(page.request, leash)
        require_status(answer, (200,))
        # Raises for a page that is longer than what was read of it.
        answer.text()
    except LeashExpiredError:
        return Served(page, error=leash.verdict)
    except (ProbeFailedError, OSError) as exc:
        return Served(page, error=str(exc))
    return Served(page, body=answer.body)


def _validated(check: t.Mapping[str, t.Any], kind: str, spec: dict[str, t.Any]) -> Options:
    found = ArgumentSpecValidator(spec).validate(dict(check[kind]))
    if found.error_messages:
        raise ProbeRefusedError(f"check {check.get('name')!r}: {'; '.join(found.error_messages)}")
    return found.validated_parameters


def _request(options: Options, now: float) -> tuple[Request, str]:
    if not options.get("query"):
        return prepare_request(options), ""
    asked = {
        "query": options["query"],
        "start": f"{now - _RANGE_SECONDS:.0f}",
        "end": f"{now:.0f}",
        "step": str(_STEP_SECONDS),
    }
    base = options["url"].rstrip("/")
    url = f"{base}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    return prepare_request(options, url=url), options["query"]


def _file(kind: str, known: int) -> str:
    return f"metrics-{known + 1}.{'json' if kind == prometheus.KIND.name else 'txt'}"


def _shown(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
