"""Commands that stop, start, test or reload: how each ends, and how long it is waited for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.sre.rollback.plugins.module_utils import _commands
from ansible_collections.sre.rollback.plugins.module_utils._commands import (
    CommandError,
    run_in_turn,
)


def _fails(*words: str, timeout: float = 20) -> str:
    with pytest.raises(CommandError) as caught:
        run_in_turn([words], timeout=timeout)
    return str(caught.value)


def test_commands_run_in_turn_and_the_first_that_fails_is_the_last(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("one", "two")]
    commands = [["touch", names[0]], ["sh", "-c", "echo no; exit 3"], ["touch", names[1]]]

    with pytest.raises(CommandError, match=r"^sh -c echo no; exit 3 ended with 3: no$"):
        run_in_turn(commands, timeout=20)

    assert [name.exists() for name in names] == [True, False]


def test_words_are_no_shell_but_homes_and_variables_mean_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    run_in_turn([["touch", "$PLACE/a b;c"], ["touch", "~/d"]], timeout=20)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b;c", "d"]


@pytest.mark.parametrize("words", [("/nowhere/nginx", "-t"), (), ("nul\0l",)])
def test_a_command_that_cannot_be_run_says_so(words: tuple[str, ...]) -> None:
    assert " cannot be run: " in _fails(*words)


@pytest.mark.parametrize("ignores", ["", "trap '' TERM; "], ids=["ends", "has to be killed"])
def test_a_command_that_hangs_is_waited_for_no_longer_than_was_said(
    ignores: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_commands, "_TO_END", 0.5)
    began = time.monotonic()

    said = _fails("sh", "-c", f"{ignores}echo testing; while :; do sleep 0.1; done", timeout=0.5)

    assert said.endswith("was not done after 0.5 s and was told to end: testing")
    assert time.monotonic() - began < 15


def test_a_service_that_a_command_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()

    run_in_turn([["sh", "-c", f"sleep 30 & echo $! > {tmp_path}/pid"]], timeout=20)

    assert time.monotonic() - began < 15
    run_in_turn([["kill", (tmp_path / "pid").read_text().strip()]], timeout=20)


def test_only_the_end_of_what_a_command_says_is_told() -> None:
    said = _fails("sh", "-c", "yes no | head -c 999999; printf last; exit 1")

    assert said.endswith("last")
    assert len(said) < 700
