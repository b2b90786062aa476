"""Who may start what without being asked."""

from __future__ import annotations

import pytest

from rollback_playbook.approval.confirmation import confirm
from rollback_playbook.errors import RefusedError


def _confirm(
    *, protected: bool, yes: str | None, interactive: bool = False, typed: str = ""
) -> str:
    return confirm(
        "prod", protected=protected, yes=yes, interactive=interactive, ask=lambda _: typed
    )


def test_an_unprotected_environment_asks_nothing() -> None:
    assert _confirm(protected=False, yes=None) == "not protected"


@pytest.mark.parametrize(
    ("yes", "interactive", "typed"),
    [
        pytest.param(None, False, "", id="nobody there to ask"),
        pytest.param("", False, "", id="yes without the name"),
        pytest.param("staging", True, "prod", id="yes with another name"),
        pytest.param(None, True, "Prod", id="typed wrongly"),
    ],
)
def test_a_protected_environment_is_refused_without_its_name(
    yes: str | None, interactive: bool, typed: str
) -> None:
    with pytest.raises(RefusedError, match="nothing was changed"):
        _confirm(protected=True, yes=yes, interactive=interactive, typed=typed)


def test_a_protected_environment_is_approved_by_its_name() -> None:
    assert _confirm(protected=True, yes="prod") == "--yes prod"
    assert _confirm(protected=True, yes=None, interactive=True, typed="prod").startswith("typed")
