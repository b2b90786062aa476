"""Whether the operator means it: asked before anything runs, never from inside a playbook."""

from __future__ import annotations

from collections.abc import Callable

from rollback_playbook.errors import RefusedError


def confirm(
    environment: str,
    *,
    protected: bool,
    yes: str | None,
    interactive: bool,
    ask: Callable[[str], str],
) -> str:
    """How the run was approved, for the record.

    ``yes`` is the value of ``--yes``: empty when it was given bare, the environment's name when
    that was given, None when it was not given at all. A protected environment (inventory
    variable ``rollback_protected``) wants its name, typed or as ``--yes NAME``. Raises
    RefusedError when approval is not given.
    """
    if yes is not None and (yes == environment or (yes == "" and not protected)):
        return f"--yes {yes}".strip()
    if yes:
        raise RefusedError(
            f"--yes {yes} was given, but the environment is {environment}; nothing was changed"
        )
    if not protected:
        return "not protected"
    if not interactive:
        raise RefusedError(
            f"{environment} is protected and nobody can be asked here; nothing was changed",
            hint=f"--yes {environment}",
        )
    if ask(f"Type {environment} to go on") != environment:
        raise RefusedError("that is not the name of the environment; nothing was changed")
    return "typed the environment's name"
