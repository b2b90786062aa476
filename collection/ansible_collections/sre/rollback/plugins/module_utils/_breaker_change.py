# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing breakers to a state: observe, decide, act, and look again as a client would.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core

# How often opened breakers are looked at while a trial call may be under way, in seconds.
_LOOK_EVERY = 0.05

# Who loses a race for a breaker looks again: it may be as wished by now.
_ATTEMPTS = 2


@dataclass(frozen=True)
class Outcome:
    """What was, what is, and what an operator should know about the difference.

    ``foreign`` are breakers that were left alone because somebody else keeps them open;
    ``reopened`` are those that a trial call had closed again.
    """

    before: tuple[core.Breaker, ...]
    after: tuple[core.Breaker, ...]
    touched: tuple[str, ...]
    foreign: tuple[core.Breaker, ...]
    reopened: tuple[str, ...]


def resolve_names(provider: core.Provider, asked: t.Sequence[str]) -> list[str]:
    """The breakers meant by ``breakers``. Raises BreakerError when there are none."""
    if not asked:
        raise core.BreakerError("breakers is empty. Nothing was changed. Name them, or give 'all'.")
    if "all" not in asked:
        return list(dict.fromkeys(asked))
    if len(asked) > 1:
        raise core.BreakerError(
            "breakers holds 'all' and other names: it is not clear which are meant. "
            "Nothing was changed. Give 'all' alone, or only names."
        )
    names = provider.names()
    if not names:
        raise core.BreakerError(
            "There is no breaker here, so none was changed. Check that the connection options "
            "(and db) are those of the storage that the applications use."
        )
    return names


def change_breakers(
    provider: core.Provider,
    names: t.Sequence[str],
    wish: core.Wish,
    *,
    settle: float,
    check: bool,
) -> Outcome:
    """Bring the breakers to the wish and prove it.

    Opened breakers are watched for ``settle`` seconds when a trial call may have been under way.
    Raises BreakerError when a name is unknown, somebody else holds one, or the proof fails.
    """
    provider.refuse(wish)
    first = provider.observe(names)
    if not provider.creates:
        _refuse_unknown(provider, first)
    before = first
    for _attempt in range(_ATTEMPTS if wish.state == core.OPEN else 0):
        with contextlib.suppress(core.BreakerTakenError):
            outcome = _change_once(provider, before, wish, settle=settle, check=check)
            return _since(first, outcome, wish)
        before = provider.observe(names)
    return _since(first, _change_once(provider, before, wish, settle=settle, check=check), wish)


def _since(first: t.Sequence[core.Breaker], outcome: Outcome, wish: core.Wish) -> Outcome:
    """The outcome with what an attempt before, which lost a race, has changed already."""
    earlier = [
        was.name
        for was, found in zip(first, outcome.before)
        if was != found and found.hold is not None and found.hold.holder == wish.holder
    ]
    touched = dict.fromkeys([*earlier, *outcome.touched])
    return replace(outcome, before=tuple(first), touched=tuple(touched))


def _change_once(
    provider: core.Provider,
    before: t.Sequence[core.Breaker],
    wish: core.Wish,
    *,
    settle: float,
    check: bool,
) -> Outcome:
    foreign = _foreign(before, wish)
    targets = [
        breaker if breaker in foreign else provider.predict(breaker, wish) for breaker in before
    ]
    todo = [breaker for breaker, target in zip(before, targets) if target != breaker]
    after, reopened = targets, []
    if todo and not check:
        provider.apply(todo, wish)
        after, reopened = _confirm(provider, before, todo, wish, settle)
    return Outcome(
        before=tuple(before),
        after=tuple(after),
        touched=tuple(breaker.name for breaker in todo),
        foreign=tuple(foreign),
        reopened=tuple(reopened),
    )


def _refuse_unknown(provider: core.Provider, observed: t.Sequence[core.Breaker]) -> None:
    unknown = [breaker.name for breaker in observed if not breaker.exists]
    if unknown:
        raise core.BreakerError(
            f"Unknown breakers: {', '.join(map(repr, unknown))}. Nothing was changed. "
            f"Known are: {', '.join(provider.names()) or 'none'}."
        )


def _foreign(observed: t.Sequence[core.Breaker], wish: core.Wish) -> list[core.Breaker]:
    """Breakers that somebody else keeps open and that may stay as they are.

    Raises BreakerError when the wish would take one away from its holder.
    """
    if wish.take_over:
        return []
    others = [
        breaker
        for breaker in observed
        if breaker.hold is not None and breaker.hold.holder != wish.holder
    ]
    if wish.state == core.OPEN:
        return [breaker for breaker in others if breaker.state == core.OPEN]
    if others:
        raise core.BreakerError(
            f"{_held_by(others)} Nothing was changed. Ask them, or name the same holder, "
            "or set take_over to true.",
            held_by_others={each.name: each.as_dict()["hold"] for each in others},
        )
    return []


def _held_by(breakers: t.Sequence[core.Breaker]) -> str:
    sentences = []
    for breaker in breakers[:5]:
        hold = t.cast(core.Hold, breaker.hold)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(hold.since))
        why = hold.reason or "no reason given"
        sentences.append(
            f"Breaker {breaker.name!r} is held by {hold.holder!r} since {since}: {why}."
        )
    if len(breakers) > 5:
        sentences.append(f"So are {len(breakers) - 5} more.")
    return " ".join(sentences)


def _confirm(
    provider: core.Provider,
    before: t.Sequence[core.Breaker],
    todo: t.Sequence[core.Breaker],
    wish: core.Wish,
    settle: float,
) -> tuple[list[core.Breaker], list[str]]:
    """Look as a client would, and open again what a trial call has closed meanwhile."""
    watch = wish.state == core.OPEN and any(provider.may_slip(breaker) for breaker in todo)
    deadline = time.monotonic() + (settle if watch else 0)
    names, touched = [breaker.name for breaker in before], {breaker.name for breaker in todo}
    reopened: dict[str, None] = {}
    while True:
        after = provider.observe(names)
        doubted = [
            (breaker, provider.contradiction(breaker, wish))
            for breaker in after
            if breaker.name in touched
        ]
        wrong = [(breaker, why) for breaker, why in doubted if why]
        if time.monotonic() >= deadline:
            break
        if wrong:
            reopened.update(dict.fromkeys(breaker.name for breaker, _why in wrong))
            provider.apply([breaker for breaker, _why in wrong], wish)
        time.sleep(_LOOK_EVERY)
    if wrong:
        _fail(before, after, {breaker.name: why for breaker, why in wrong})
    return after, list(reopened)


def _fail(
    before: t.Sequence[core.Breaker], after: t.Sequence[core.Breaker], wrong: t.Mapping[str, str]
) -> None:
    reasons = "; ".join(f"{name!r}: {why}" for name, why in wrong.items())
    raise core.BreakerError(
        f"Breakers were set, but looking again shows otherwise: {reasons}. Run the task again; if "
        "it goes on, another tool or client changes them.",
        before={breaker.name: breaker.as_dict() for breaker in before},
        after={breaker.name: breaker.as_dict() for breaker in after},
    )
