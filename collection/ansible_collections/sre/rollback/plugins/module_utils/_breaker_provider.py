# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a circuit breaker is to this collection, and what a provider of breakers can do.

A provider is one file ``_breaker_<provider>.py`` with a class that derives from ``Provider``.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import abc
import typing as t
from dataclasses import dataclass, field

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

OPEN, CLOSED, HALF_OPEN = "open", "closed", "half_open"
ABSENT = "absent"
RESTORED = "restored"

# The holder that is recorded when nobody gave a name.
UNNAMED = "unnamed"

# Ten years, in seconds.
LONGEST_LEASE = 315360000


class BreakerError(RollbackError):
    """A breaker that cannot be brought to, or is not in, the state that was asked for."""


class BreakerTakenError(BreakerError):
    """Somebody else took a breaker between the look at it and its change."""


@dataclass(frozen=True)
class Hold:
    """Who keeps a breaker in its state. Times are seconds since 1970 on the storage's clock."""

    holder: str
    reason: str
    since: int
    until: int | None

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "holder": self.holder,
            "reason": self.reason,
            "since": self.since,
            "until": self.until,
        }


@dataclass(frozen=True)
class Breaker:
    """One breaker as a client sees it.

    ``held`` says that clients refuse calls, and will go on refusing them, whatever happens to
    them. ``facts`` are the provider's own numbers: enough to bring this very state back.
    """

    name: str
    state: str
    held: bool = False
    hold: Hold | None = None
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        return self.state != ABSENT

    def as_dict(self) -> dict[str, t.Any]:
        """The breaker as a result and as an entry of ``snapshot``."""
        hold = self.hold.as_dict() if self.hold else None
        return {"state": self.state, "held": self.held, "hold": hold, **self.facts}


@dataclass(frozen=True)
class Wish:
    """What the task asks for.

    ``lease`` is in seconds; ``snapshot`` holds what ``Breaker.as_dict`` gave, by name, and is
    used for the state ``restored`` alone.
    """

    state: str
    holder: str = UNNAMED
    reason: str = ""
    lease: float | None = None
    take_over: bool = False
    snapshot: t.Mapping[str, t.Mapping[str, t.Any]] = field(default_factory=dict)

    def state_of(self, name: str) -> str:
        """The state that this one breaker shall have."""
        return str(self.snapshot[name]["state"]) if self.state == RESTORED else self.state


class Provider(abc.ABC):
    """Breakers of one kind. Every method raises RollbackError, and nothing else, on trouble."""

    # Whether a breaker that the provider has never seen may be opened beforehand.
    creates = False

    def refuse(self, wish: Wish) -> None:  # noqa: B027
        """Raise BreakerError when no breaker of this provider could ever fulfil the wish."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """Every breaker there is, sorted."""

    @abc.abstractmethod
    def observe(self, names: t.Sequence[str]) -> list[Breaker]:
        """These breakers as a new client would see them now, in this order."""

    @abc.abstractmethod
    def predict(self, breaker: Breaker, wish: Wish) -> Breaker:
        """The breaker as ``apply`` would leave it; the same object when nothing is to be done."""

    @abc.abstractmethod
    def apply(self, breakers: t.Sequence[Breaker], wish: Wish) -> None:
        """Bring breakers, observed before, to the wish. Each is either as before or done."""

    @abc.abstractmethod
    def contradiction(self, breaker: Breaker, wish: Wish) -> str:
        """Why this breaker, observed after ``apply``, is not as wished; empty when it is."""

    def may_slip(self, breaker: Breaker) -> bool:  # noqa: ARG002
        """Whether a trial call, begun before the change, could still undo the change."""
        return False

    def warnings(self) -> list[str]:
        """What an operator should know about the storage of these breakers."""
        return []

    def close(self) -> None:  # noqa: B027
        """Give connections back."""
