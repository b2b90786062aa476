"""Which migrations run, in which order, and when there is a way back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_files import (
    DOWN,
    read_migration,
    version_key,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_plan import (
    Files,
    applied_up_to,
    make_plan,
    read_files,
)

_DOWN = r"^(?P<version>[\d.]+)_.*\.down\.sql$"
_UP = r"^(?P<version>[\d.]+)_.*\.up\.sql$"


def pairs(folder: Path, *versions: str) -> Files:
    """Files for both directions of each version."""
    for version in versions:
        for direction in ("up", "down"):
            (folder / f"{version}_x.{direction}.sql").write_text(f"SELECT '{direction}'")
    return read_files(folder, down_pattern=_DOWN, up_pattern=_UP)


def test_plan_goes_down_in_reverse_order_and_up_in_order(tmp_path: Path) -> None:
    files = pairs(tmp_path, "1", "2", "9", "10")

    down = make_plan(["1", "2", "9", "10"], "1", files)
    up = make_plan(["1"], "9", files)
    nothing = make_plan(["1"], "01", files)
    everything = make_plan(["1", "2"], "zero", files)

    assert [step.migration.version for step in down.steps] == ["10", "9", "2"]
    assert [step.applied for step in down.steps] == [("1", "2", "9"), ("1", "2"), ("1",)]
    assert [step.migration.version for step in up.steps] == ["2", "9"]
    assert up.steps[-1].applied == ("1", "2", "9")
    assert nothing.steps == ()
    assert everything.steps[-1].applied == ()
    assert {plan.no_way_back for plan in (down, up, nothing, everything)} == {""}


@pytest.mark.parametrize(
    ("applied", "target", "words"),
    [
        pytest.param(["1", "2", "5"], "1", "no down file for version 5", id="down file missing"),
        pytest.param(["1"], "5", "it has no up file", id="up file missing"),
        pytest.param(["1", "3"], "2", "a newer one is applied", id="in between"),
    ],
)
def test_plan_refuses_what_the_files_cannot_do(
    tmp_path: Path, applied: list[str], target: str, words: str
) -> None:
    files = pairs(tmp_path, "1", "2", "3")

    with pytest.raises(RollbackError, match=words) as caught:
        make_plan(applied, target, files)

    assert "Nothing was run" in str(caught.value)


def test_plan_has_no_way_back_without_the_files_for_it(tmp_path: Path) -> None:
    files = pairs(tmp_path, "1", "2", "3")
    gap = make_plan(["1", "3"], "1", files).no_way_back
    (tmp_path / "3_x.up.sql").write_text("\\i elsewhere.sql")
    unusable = make_plan(["1", "2", "3"], "2", files).no_way_back
    (tmp_path / "3_x.up.sql").unlink()
    missing = make_plan(
        ["1", "2", "3"], "2", read_files(tmp_path, down_pattern=_DOWN, up_pattern=_UP)
    ).no_way_back

    assert gap == "version 2 was not applied and would be on the way back up"
    assert "command of the program psql" in unusable
    assert missing == "there is no up file for version 3"


def test_applied_up_to_counts_the_files_before_the_newest(tmp_path: Path) -> None:
    files = pairs(tmp_path, "001", "002", "010")

    assert applied_up_to(files, []) == ()
    assert applied_up_to(files, ["2"]) == ("001", "2")
    assert applied_up_to(files, ["11"]) == ("001", "002", "010", "11")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("SELECT 1; COMMIT; SELECT 2", "controls the transaction", id="commit"),
        pytest.param("START TRANSACTION; SELECT 1", "controls the transaction", id="begin alone"),
        pytest.param("\\connect x", "program psql", id="psql"),
        pytest.param("COPY t (a) FROM STDIN;\n1\n\\.", "standard input", id="copy"),
    ],
)
def test_read_migration_refuses_what_cannot_run_here(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "1_x.down.sql").write_text(text)

    with pytest.raises(RollbackError, match=words):
        read_migration(tmp_path / "1_x.down.sql", "1", DOWN, shared=False)


@pytest.mark.parametrize(
    ("text", "statements", "transactional"),
    [
        pytest.param("BEGIN; SELECT 1; COMMIT;", ["SELECT 1"], True, id="own transaction"),
        pytest.param("SAVEPOINT a; ROLLBACK TO a", ["SAVEPOINT a", "ROLLBACK TO a"], True, id="to"),
        pytest.param("-- no transaction\nVACUUM", ["VACUUM"], False, id="without transaction"),
        pytest.param("-- no transaction is lost\nSELECT 1", ["SELECT 1"], True, id="a remark"),
        pytest.param(
            "-- migrate:up\nSELECT 'up';\n-- migrate:down transaction:false\nVACUUM",
            ["VACUUM"],
            False,
            id="dbmate",
        ),
        pytest.param(
            "-- +goose Down\nSELECT 2\n-- +goose Up\nSELECT 1", ["SELECT 2"], True, id="goose"
        ),
    ],
)
def test_read_migration_takes_the_part_and_the_transaction_that_are_meant(
    tmp_path: Path, text: str, statements: list[str], transactional: bool
) -> None:
    (tmp_path / "1_x.sql").write_text(text)

    migration = read_migration(tmp_path / "1_x.sql", "1", DOWN, shared="migrate" in text)

    assert [statement.text for statement in migration.statements] == statements
    assert migration.transactional == transactional


def test_read_migration_counts_lines_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "1_x.sql").write_text("-- migrate:up\nSELECT 1;\n-- migrate:down\n\nSELECT 2")

    migration = read_migration(tmp_path / "1_x.sql", "1", DOWN, shared=True)

    assert migration.statements[0].line == 5


def test_read_migration_refuses_a_file_of_both_patterns_without_marks(tmp_path: Path) -> None:
    (tmp_path / "1_x.sql").write_text("CREATE TABLE t ()")
    both = r"^(?P<version>\d+)_.*\.sql$"
    files = read_files(tmp_path, down_pattern=both, up_pattern=both)

    with pytest.raises(RollbackError, match="does not say which part goes up"):
        make_plan(["1"], "zero", files)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        pytest.param("(", "no regular expression", id="broken"),
        pytest.param(r"^(\d+)", r"needs a group \(\?P<version>", id="no group"),
        pytest.param(r"^(?P<version>\d)", "are both version 1", id="two files"),
    ],
)
def test_read_files_refuses_patterns_that_say_nothing_clear(
    tmp_path: Path, pattern: str, words: str
) -> None:
    pairs(tmp_path, "1")

    with pytest.raises(RollbackError, match=words):
        read_files(tmp_path, down_pattern=pattern, up_pattern=_UP)


@settings(derandomize=True)
@given(st.lists(st.lists(st.integers(0, 10**15), min_size=1, max_size=4)))
def test_version_key_orders_dotted_numbers_by_value(versions: list[list[int]]) -> None:
    texts = [".".join(map(str, version)) for version in versions]

    assert sorted(texts, key=version_key) == [
        ".".join(map(str, version)) for version in sorted(versions)
    ]
