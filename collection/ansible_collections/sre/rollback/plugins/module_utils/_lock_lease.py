# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may roll back an environment: one lease, and a rule for every change of it.

A backend only has to read the lease, let ``change`` decide, and write the answer, all in one
transaction. The fencing token grows with every new holder (Kleppmann, "How to do distributed
locking", 2016), so that a late holder is told from the present one.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import asdict, dataclass, replace

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError


class LockError(RollbackError):
    """The lease is somebody else's, or the token is not the present one."""


@dataclass(frozen=True)
class Lease:
    """Times are seconds since the epoch by the backend's clock; an empty holder is nobody."""

    token: int = 0
    holder: str = ""
    reason: str = ""
    since: float = 0.0
    expires: float = 0.0

    def is_held(self, now: float) -> bool:
        """Whether somebody holds it and has not let it expire."""
        return bool(self.holder) and now < self.expires

    def as_result(self, now: float) -> dict[str, t.Any]:
        """What a module returns of it."""
        held = self.is_held(now)
        return {
            "held": held,
            "token": self.token,
            "holder": self.holder if held else "",
            "reason": self.reason if held else "",
            "since": _iso(self.since) if held else None,
            "expires": _iso(self.expires) if held else None,
        }


@dataclass(frozen=True)
class Request:
    """What the caller wants."""

    environment: str
    state: str
    holder: str = ""
    reason: str = ""
    ttl: float = 0.0
    token: int | None = None


def change(request: Request, lease: Lease, now: float) -> Lease:
    """The lease after the request; the same object when nothing changes. Raises LockError."""
    if request.state == "released":
        return _released(request, lease, now)
    if request.state == "held" and lease.is_held(now):
        if request.token != lease.token:
            raise LockError(_refusal(request, lease, now), lock=lease.as_result(now))
        return replace(lease, expires=now + request.ttl, reason=request.reason or lease.reason)
    if request.state == "held" and request.token is not None and request.token != lease.token:
        raise LockError(
            f"token {request.token} is not the present one ({lease.token}): somebody else held "
            f"{request.environment} meanwhile. Nothing was changed. Begin again without a token.",
            lock=lease.as_result(now),
        )
    return Lease(
        token=lease.token + 1,
        holder=request.holder,
        reason=request.reason,
        since=now,
        expires=now + request.ttl,
    )


def _released(request: Request, lease: Lease, now: float) -> Lease:
    if not lease.holder:
        return lease
    if request.token == lease.token:
        return Lease(token=lease.token)
    if not lease.is_held(now):
        return lease
    raise LockError(
        f"token {request.token} does not hold {request.environment}: {_holder(lease, now)}. "
        "The lock is as it was.",
        lock=lease.as_result(now),
    )


def _refusal(request: Request, lease: Lease, now: float) -> str:
    return (
        f"{request.environment} is locked: {_holder(lease, now)}. Nothing was changed. "
        "Talk to them, or take over with --take-over (state=stolen), which is recorded."
    )


def _holder(lease: Lease, now: float) -> str:
    left = max(int(lease.expires - now), 0)
    return (
        f"held by {lease.holder} since {_iso(lease.since)} ({lease.reason or 'no reason given'}), "
        f"for another {left} s"
    )


def _iso(moment: float) -> str:
    at = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def lease_from(fields: t.Mapping[str, t.Any]) -> Lease:
    """A lease from what a backend stored. Raises ValueError or TypeError when it is malformed."""
    return Lease(
        token=int(fields["token"]),
        holder=str(fields["holder"]),
        reason=str(fields["reason"]),
        since=float(fields["since"]),
        expires=float(fields["expires"]),
    )


def fields_of(lease: Lease) -> dict[str, t.Any]:
    """What a backend stores."""
    return asdict(lease)
