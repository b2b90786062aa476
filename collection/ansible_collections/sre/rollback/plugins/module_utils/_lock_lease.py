# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may roll back an environment: one lease, and a rule for every change of it.

A backend only has to read the lease, let ``change`` decide, and write the answer, all in one
transaction. The fencing token grows with every new holder (Kleppmann, "How to do distributed
locking", 2016), so that a late holder is told from the present one. The lease outlives its release
for that reason: it holds the last token.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import datetime
import math
import typing as t
from dataclasses import asdict, dataclass, field, replace

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

#: A lease without an end is what it is there to prevent.
LONGEST = 31 * 86400.0
_NAME_LENGTH = 100
_TEXT_LENGTH = 1000


class LockError(RollbackError):
    """The lease is somebody else's, or the token is not the present one."""


@dataclass(frozen=True)
class Lease:
    """Times are seconds since the epoch by the backend's clock; an empty holder is nobody.

    ``taken_from`` is who held it when the present holder took it over.
    """

    token: int = 0
    holder: str = ""
    reason: str = ""
    since: float = 0.0
    expires: float = 0.0
    taken_from: t.Mapping[str, t.Any] = field(default_factory=dict)

    def is_held(self, now: float) -> bool:
        """Whether somebody holds it and has not let it expire."""
        return bool(self.holder) and now < self.expires

    def as_result(self, now: float) -> dict[str, t.Any]:
        """What a module returns of it. A lease that expired still says whose it was."""
        return {
            "held": self.is_held(now),
            "token": self.token,
            "holder": self.holder,
            "reason": self.reason,
            "since": _iso(self.since) if self.holder else None,
            "expires": _iso(self.expires) if self.holder else None,
            "expires_in": round(max(self.expires - now, 0.0), 3) if self.holder else None,
            "taken_from": dict(self.taken_from) or None,
        }


@dataclass(frozen=True)
class Request:
    """What the caller wants. Raises LockError for what makes no sense."""

    environment: str
    state: str
    holder: str = ""
    reason: str = ""
    ttl: float = 0.0
    token: int | None = None

    def __post_init__(self) -> None:
        if not self.environment.strip() or len(self.environment) > _NAME_LENGTH:
            _refuse(f"environment must be a name of 1 to {_NAME_LENGTH} characters")
        if not math.isfinite(self.ttl) or not 0 < self.ttl <= LONGEST:
            _refuse(f"ttl must be more than 0 s and at most {LONGEST:.0f} s, not {self.ttl:g}")
        if self.state == "released" and self.token is None:
            _refuse("giving a lock back needs its token")
        if self.state != "released" and not self.holder.strip():
            _refuse("holder must say who it is")
        if self.state == "stolen" and not self.reason.strip():
            _refuse("taking a lock over needs a reason")
        for name, text in (("holder", self.holder), ("reason", self.reason)):
            if len(text) > _TEXT_LENGTH or any(ord(letter) < 32 for letter in text):
                _refuse(f"{name} must be one line of at most {_TEXT_LENGTH} characters")


def _refuse(problem: str) -> t.NoReturn:
    raise LockError(f"{problem}. Nothing was changed.")


def change(request: Request, lease: Lease, now: float) -> Lease:
    """The lease after the request; the same object when nothing changes. Raises LockError."""
    if request.state == "released":
        return _released(request, lease, now)
    if request.token is not None:
        return _renewed(request, lease, now)
    if not lease.is_held(now):
        return _taken(request, lease, now)
    if request.state == "held":
        raise LockError(
            f"{request.environment} is locked: {_holder(lease, now)}. Nothing was changed. "
            "Talk to them, or take over with --take-over (state=stolen), which is recorded.",
            lock=lease.as_result(now),
        )
    robbed = {
        "holder": lease.holder,
        "token": lease.token,
        "since": _iso(lease.since),
        "reason": lease.reason,
        "at": _iso(now),
    }
    return replace(_taken(request, lease, now), taken_from=robbed)


def is_renewal(before: Lease, after: Lease) -> bool:
    """Whether the holder is the same and only the expiry moved."""
    return after is not before and after.token == before.token and bool(after.holder)


def _taken(request: Request, lease: Lease, now: float) -> Lease:
    return Lease(
        token=lease.token + 1,
        holder=request.holder,
        reason=request.reason,
        since=now,
        expires=now + request.ttl,
    )


def _renewed(request: Request, lease: Lease, now: float) -> Lease:
    """A lease that expired and that nobody took is still its holder's."""
    if request.token == lease.token and lease.holder:
        return replace(lease, expires=now + request.ttl, reason=request.reason or lease.reason)
    problem = _problem(request, lease, now)
    raise LockError(
        f"{request.environment} cannot be held on to: {problem}. Nothing was changed. Stop, and "
        "find out what the other holder did before you take it again without a token.",
        lock=lease.as_result(now),
    )


def _released(request: Request, lease: Lease, now: float) -> Lease:
    if request.token == lease.token and lease.holder:
        return Lease(token=lease.token)
    if not lease.is_held(now):
        return lease
    raise LockError(
        f"{request.environment} cannot be released: {_problem(request, lease, now)}. "
        "The lock is as it was.",
        lock=lease.as_result(now),
    )


def _problem(request: Request, lease: Lease, now: float) -> str:
    if request.token == lease.token:
        return f"token {request.token} was released already"
    if t.cast(int, request.token) > lease.token:
        return (
            f"token {request.token} was never given out here (the last one is {lease.token}), or "
            "the lock's storage lost it"
        )
    present = _holder(lease, now) if lease.is_held(now) else f"the last one is {lease.token}"
    return f"token {request.token} is an old one: {present}"


def _holder(lease: Lease, now: float) -> str:
    left = max(math.ceil(lease.expires - now), 0)
    return (
        f"held by {lease.holder} since {_iso(lease.since)} ({lease.reason or 'no reason given'}), "
        f"until {_iso(lease.expires)}, for another {left} s"
    )


def _iso(moment: float) -> str:
    at = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def lease_from(fields: t.Mapping[str, t.Any]) -> Lease:
    """A lease from what a backend stored.

    Raises KeyError, TypeError, ValueError or OverflowError when it is malformed.
    """
    lease = Lease(
        token=int(fields["token"]),
        holder=str(fields["holder"]),
        reason=str(fields["reason"]),
        since=float(fields["since"]),
        expires=float(fields["expires"]),
        taken_from=dict(fields["taken_from"]),
    )
    if lease.token < 0:
        raise ValueError(lease.token)
    _iso(lease.since)
    _iso(lease.expires)
    return lease


def fields_of(lease: Lease) -> dict[str, t.Any]:
    """What a backend stores: values that JSON knows."""
    return asdict(lease)
