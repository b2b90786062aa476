"""Who may start what without being asked."""

from __future__ import annotations

import pytest

from rollback_playbook.approval.confirmation import Question, confirm, protection_of
from rollback_playbook.errors import RefusedError


def _confirm(
    *,
    protected: bool | None,
    yes: str | None,
    interactive: bool = False,
    typed: str = "",
    changes: bool = True,
) -> str:
    question = Question("prod", protected=protected, changes_production=changes, yes=yes)
    return confirm(question, interactive=interactive, ask=lambda _: typed)


def test_environment_that_says_it_is_not_protected_asks_nothing() -> None:
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
def test_protected_environment_is_refused_without_its_name(
    yes: str | None, interactive: bool, typed: str
) -> None:
    with pytest.raises(RefusedError, match="nothing was changed"):
        _confirm(protected=True, yes=yes, interactive=interactive, typed=typed)


def test_protected_environment_is_approved_by_its_name() -> None:
    assert _confirm(protected=True, yes="prod") == "--yes prod"
    assert _confirm(protected=True, yes=None, interactive=True, typed="prod").startswith("typed")


def test_environment_that_says_nothing_is_refused_where_nobody_can_be_asked() -> None:
    with pytest.raises(RefusedError, match="changes production on prod") as refused:
        _confirm(protected=None, yes=None)
    assert "--yes prod" in refused.value.hint
    assert "rollback_protected: false" in refused.value.hint


def test_environment_that_says_nothing_wants_a_yes() -> None:
    assert _confirm(protected=None, yes=None, interactive=True, typed="yes") == "said yes"
    assert _confirm(protected=None, yes="") == "--yes"
    assert _confirm(protected=None, yes="prod") == "--yes prod"
    with pytest.raises(RefusedError, match="not yes; nothing was changed"):
        _confirm(protected=None, yes=None, interactive=True, typed="")


def test_scenario_that_changes_nothing_in_production_asks_nobody() -> None:
    assert _confirm(protected=None, yes=None, changes=False) == "nothing in production is changed"
    with pytest.raises(RefusedError):
        _confirm(protected=True, yes=None, changes=False)


@pytest.mark.parametrize(
    ("value", "meaning"),
    [(None, None), (False, False), ("false", False), ("No", False), (True, True), ("maybe", True)],
)
def test_only_a_plain_no_takes_the_protection_away(value: object, meaning: bool | None) -> None:
    assert protection_of(value) is meaning
