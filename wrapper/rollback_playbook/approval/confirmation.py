"""Whether the operator means it: asked before anything runs, never from inside a playbook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rollback_playbook.errors import RefusedError

_FALSE = frozenset({"false", "no", "off", "n", "f", "0"})


@dataclass(frozen=True)
class Question:
    """What has to be agreed to, and what was answered beforehand.

    ``protected`` is the inventory's ``rollback_protected``: None when it says nothing. ``yes`` is
    the value of ``--yes``: empty when it was given bare, None when it was not given at all.
    """

    environment: str
    protected: bool | None
    changes_production: bool
    yes: str | None = None

    @property
    def answer(self) -> str:
        """How the run is approved without asking; empty when somebody has to be asked.

        Raises RefusedError when ``--yes`` names another environment.
        """
        named, bare = self.yes == self.environment, self.yes == ""
        if named or (bare and not self.protected):
            return f"--yes {self.yes}".strip()
        if self.yes:
            raise RefusedError(
                f"--yes {self.yes} was given, but the environment is {self.environment}; nothing "
                "was changed"
            )
        if self.protected is False:
            return "not protected"
        asks_nothing = self.protected is None and not self.changes_production
        return "nothing in production is changed" if asks_nothing else ""


def protection_of(value: Any) -> bool | None:
    """The meaning of ``rollback_protected``: only a plain no takes the protection away."""
    if value is None or isinstance(value, bool):
        return value
    return str(value).strip().lower() not in _FALSE


def refuse_unasked(question: Question, *, interactive: bool) -> None:
    """Raises RefusedError when somebody has to be asked and nobody is there."""
    if question.answer or interactive:
        return
    name = question.environment
    if question.protected:
        why, beside = f"{name} is protected", ""
    else:
        why = f"this changes production on {name}"
        beside = "; or rollback_protected: false in an inventory where nobody need be asked"
    raise RefusedError(
        f"{why} and nobody can be asked here; nothing was changed", hint=f"--yes {name}{beside}"
    )


def confirm(question: Question, *, interactive: bool, ask: Callable[[str], str]) -> str:
    """How the run was approved, for the record.

    A protected environment wants its name, typed or as ``--yes NAME``; one that says nothing of
    protection wants a yes before production is changed. Raises RefusedError without it.
    """
    refuse_unasked(question, interactive=interactive)
    if question.answer:
        return question.answer
    name = question.environment
    if not question.protected:
        if ask(f"Go on with this on {name}? yes or no").strip().lower() not in ("y", "yes"):
            raise RefusedError("the answer was not yes; nothing was changed")
        return "said yes"
    if ask(f"Type {name} to go on") != name:
        raise RefusedError("that is not the name of the environment; nothing was changed")
    return "typed the environment's name"
