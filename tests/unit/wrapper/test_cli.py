"""What the operator types, and which exit code comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollback_playbook.cli import main
from rollback_playbook.cli.variables import parse_variables
from rollback_playbook.errors import UsageError


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> object:
    """``run(argv…)`` is (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLBACK_LAB_DIR", str(tmp_path / "lab"))
    monkeypatch.setenv("ROLLBACK_PLAYBOOK_STATE_DIR", str(tmp_path / "state"))

    def call(*argv: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(argv))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def test_help_lists_every_scenario_with_its_title(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("--help")

    assert code == 0
    assert "emergency" in out
    assert "Protect at once" in out


def test_help_of_a_scenario_says_when_and_when_not(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("full", "--help")

    assert code == 0
    assert "When not:" in out
    assert "--take-over" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param(["emergancy", "-i", "lab"], "did you mean emergency", id="unknown scenario"),
        pytest.param(["full"], "--inventory", id="no environment"),
        pytest.param(["full", "-i", "lab"], "rollback-playbook lab up", id="lab is not up"),
        pytest.param(["full", "-i", "./nowhere"], "no inventory at", id="unknown path"),
        pytest.param(["full", "-i", "h,", "-e", "x"], "neither name=value", id="malformed -e"),
        pytest.param(["incidents", "show", "last"], "no incident", id="unknown incident"),
    ],
)
def test_wrong_usage_has_code_2_and_says_what_to_do(run, argv: list[str], words: str) -> None:  # type: ignore[no-untyped-def]
    code, _, err = run(*argv)

    assert code == 2
    assert words in err


def test_lab_that_is_not_there_is_refused_with_the_next_step(run) -> None:  # type: ignore[no-untyped-def]
    code, _, err = run("lab", "status")

    assert code == 3
    assert "rollback-playbook lab up" in err


def test_nothing_is_written_by_a_call_that_was_refused(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run("full", "-i", "lab")

    assert list(tmp_path.iterdir()) == []


def test_scenario_of_ones_own_is_a_command(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    own = tmp_path / "own"
    own.mkdir()
    (own / "warm_cache.yml").write_text(
        "- name: Declare\n  hosts: all\n  vars:\n    rollback_scenario:\n"
        "      title: Warm it\n      level: operation\n      target_seconds: 5\n",
        encoding="ascii",
    )

    code, out, _ = run("--playbook-dir", str(own), "list", "--json")

    assert code == 0
    assert "warm-cache" in [row["name"] for row in json.loads(out)]


def test_incidents_of_a_fresh_machine_are_an_empty_list(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("incidents", "list", "--json")

    assert (code, json.loads(out)) == (0, [])


def test_variables_are_taken_in_every_form_ansible_takes(tmp_path: Path) -> None:
    file = tmp_path / "vars.yml"
    file.write_text("b: [1, 2]\n", encoding="ascii")

    assert parse_variables(["a=1 c='x y'", f"@{file}", '{"d": true}'], {}).values == {
        "a": "1",
        "c": "x y",
        "b": [1, 2],
        "d": True,
    }


@pytest.mark.parametrize("text", ["x", "1a=2", "@nowhere.yml", "{", '["a"]', "{a: [}"])
def test_malformed_variables_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_variables([text], {})


def test_list_is_a_table_with_the_fastest_scenario_first(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("list")

    assert code == 0
    names = [row.split()[0] for row in out.splitlines() if row[:1] == " " and row[1:2].isalpha()]
    assert names[0] == "scenario", out[:500]
    assert names.index("traffic-pause") < names.index("application") < names.index("full")


def test_the_page_of_the_scenarios_is_what_the_playbooks_say(run) -> None:  # type: ignore[no-untyped-def]
    page = Path(__file__).parents[3] / "docs" / "reference" / "scenarios.md"

    _, out, _ = run("list", "--markdown")

    assert page.read_text(encoding="utf-8") == out, "rollback-playbook list --markdown > " + str(
        page
    )


def test_drill_names_what_it_breaks_for_every_scenario(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("drill", "--help")

    assert code == 0
    assert "payment-failure" in out
    assert "the payment provider hangs" in out


def test_drill_history_begins_empty_and_then_shows_each_drill(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from rollback_playbook.record.drill_log import Drill, append_drill

    _, _, nothing = run("drill", "history")
    for seconds in (20.0, 30.0):
        append_drill(
            tmp_path / "state",
            Drill("2026-03-01T03:00:00Z", "full", "lab", "i", 0, seconds=seconds,
                  target_seconds=900, phases={"Switch": 0.8}),
        )  # fmt: skip
    _, out, _ = run("drill", "history")

    assert "no drill so far" in nothing
    assert out.count("full") == 2
    assert "Switch" in out
    assert "slower" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param(["drill"], "which scenario?", id="no scenario"),
        pytest.param(["drill", "--all", "full"], "exclude each other", id="both"),
        pytest.param(["drill", "fulll"], "fulll", id="unknown scenario"),
        pytest.param(["lab", "break", "--fault", "fire"], "no fault named", id="unknown fault"),
    ],
)
def test_a_drill_misspelt_has_code_2_and_breaks_nothing(run, argv: list[str], words: str) -> None:  # type: ignore[no-untyped-def]
    code, _, err = run(*argv)

    assert code == 2
    assert words in err


def test_bug_is_one_message_without_a_traceback_and_without_secrets(
    run,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(_settings: object) -> None:
        raise KeyError("postgresql://shop:c4nary@db1/shop")

    monkeypatch.setattr("rollback_playbook.cli.settings.Settings.incidents_dir", property(breaks))

    code, out, err = run("incidents", "list")

    assert code == 1
    assert "a bug of ours: KeyError" in err
    assert "Traceback" not in out + err
    assert "c4nary" not in out + err


def test_message_of_an_error_shows_no_secret(run) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("incidents", "show", "postgresql://shop:c4nary@db1/shop")

    assert code == 2
    assert "there is no incident" in err
    assert "c4nary" not in out + err
