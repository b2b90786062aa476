"""sqlite_restore_verified on real files, real locks and real processes."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.module_runner import ModuleResult, RunModule, start_module

pytestmark = pytest.mark.integration

_MODULE = "sqlite_restore_verified"


def make_database(path: Path, word: str, rows: int = 200, *, wal: bool = False) -> None:
    """A database whose every row holds ``word``."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {'wal' if wal else 'delete'}")
        connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY, word TEXT)")
        connection.execute("CREATE TABLE children (parent INTEGER REFERENCES parents)")
        connection.executemany(
            "INSERT INTO parents VALUES (?, ?)", ((n, word) for n in range(rows))
        )
        connection.execute("INSERT INTO children VALUES (1)")
        connection.execute("CREATE INDEX by_word ON parents (word, id)")
        connection.commit()


def words(path: Path) -> set[str]:
    """What the rows hold, asked as an application would."""
    with closing(sqlite3.connect(path, timeout=5)) as connection:
        return {row[0] for row in connection.execute("SELECT DISTINCT word FROM parents")}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The database and its backup, in folders of their own."""
    database, backup = tmp_path / "srv" / "app ü?.db", tmp_path / "backups" / "app.db"
    for folder in (database.parent, backup.parent):
        folder.mkdir()
    make_database(database, "damaged")
    make_database(backup, "good")
    return database, backup


def args(files: tuple[Path, Path], **options: object) -> dict[str, object]:
    """The module's arguments."""
    given = {"database": str(files[0]), "backup": str(files[1]), "restore_id": "inc-1"}
    return {**given, "lock_timeout": 0.2, **options}


@contextmanager
def other_process(database: Path, statements: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs ``statements`` on the database and then idles."""
    code = (
        "import sqlite3, sys, time\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "[c.execute(s).fetchall() for s in sys.argv[2].split(';')]\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(database), statements], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_sqlite_restore_puts_the_backup_in_place_and_keeps_the_former_file(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    database, backup = files
    database.chmod(0o640)
    backup_before = backup.read_bytes()

    result = run_module(_MODULE, args(files), diff=True)

    assert result["changed"]
    assert words(database) == {"good"}
    assert result["predecessor"] == f"{database}.before-inc-1"
    assert words(Path(result["predecessor"])) == {"damaged"}
    assert result["verification"]["tables"] == {"children": 1, "parents": 200}
    assert result["verification"]["problems"] == []
    assert database.stat().st_mode & 0o7777 == 0o640
    assert result["diff"]["after"]["tables"] == {"children": 1, "parents": 200}
    assert backup.read_bytes() == backup_before
    assert list(backup.parent.iterdir()) == [backup]
    assert len(list(database.parent.iterdir())) == 2


def test_sqlite_restore_with_the_same_id_changes_nothing_even_after_writes(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    run_module(_MODULE, args(files))
    with closing(sqlite3.connect(files[0])) as connection:
        connection.execute("UPDATE parents SET word = 'written since'")
        connection.commit()

    again = run_module(_MODULE, args(files))

    assert not again["changed"]
    assert again["undo"] is None
    assert words(files[0]) == {"written since"}


@pytest.mark.parametrize(
    ("statement", "same"),
    [
        pytest.param("ANALYZE", True, id="with statistics"),
        pytest.param("VACUUM", True, id="packed"),
        pytest.param("UPDATE parents SET word = 'other' WHERE id = 9", False, id="another value"),
        pytest.param("UPDATE parents SET word = X'676f6f64'", False, id="bytes for a text"),
        pytest.param("DELETE FROM children", False, id="a row less"),
        pytest.param("DROP INDEX by_word", False, id="an index less"),
        pytest.param("PRAGMA user_version = 3", False, id="another version of the schema"),
    ],
)
def test_sqlite_restore_that_compares_leaves_a_database_with_the_content_of_the_backup(
    files: tuple[Path, Path], run_module: RunModule, statement: str, same: bool
) -> None:
    """Its pages need not be the same, and somebody may have it open."""
    database, backup = files
    database.unlink()
    make_database(database, "good", wal=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)
        connection.commit()
    before = words(database)

    with other_process(database, "SELECT count(*) FROM parents"):
        looked = run_module(_MODULE, args(files, compare=True, force=True), check=True)
    done = run_module(_MODULE, args(files, compare=True))

    assert (looked["same"], done["same"]) == (same, same)
    assert (looked["changed"], done["changed"]) == (not same, not same)
    assert (done["undo"] is None) == same
    assert words(database) == (before if same else words(backup))


def test_sqlite_restore_in_check_mode_proves_the_backup_and_touches_nothing(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    before = sorted(path.name for path in files[0].parent.iterdir())

    predicted = run_module(_MODULE, args(files), check=True)
    after = sorted(path.name for path in files[0].parent.iterdir())
    done = run_module(_MODULE, args(files))

    assert before == after
    for key in ("changed", "before", "after", "verification", "predecessor", "undo"):
        assert predicted[key] == done[key]


def test_sqlite_restore_undo_brings_the_former_file_back_and_its_undo_the_restored_one(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    database = files[0]
    restored = run_module(_MODULE, args(files))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE parents SET word = 'written since'")
        connection.commit()

    predicted = run_module(_MODULE, restored["undo"]["args"], check=True)
    undone = run_module(_MODULE, restored["undo"]["args"])
    words_undone = words(database)
    again = run_module(_MODULE, restored["undo"]["args"])
    redone = run_module(_MODULE, undone["undo"]["args"])

    assert predicted["changed"]
    assert predicted["after"]["tables"] == undone["after"]["tables"]
    assert words_undone == {"damaged"}
    assert not again["changed"]
    assert redone["changed"]
    assert words(database) == {"written since"}


def test_sqlite_restore_brings_back_a_missing_database_and_its_undo_removes_it(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    database = files[0]
    database.unlink()

    restored = run_module(_MODULE, args(files))
    again = run_module(_MODULE, args(files))
    words_restored = words(database)
    undone = run_module(_MODULE, restored["undo"]["args"])

    assert not restored["before"]["exists"]
    assert words_restored == {"good"}
    assert not again["changed"]
    assert undone["changed"]
    assert not undone["after"]["exists"]
    assert not database.exists()


def test_sqlite_restore_replaces_a_file_that_is_no_database_any_more(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    database = files[0]
    database.write_bytes(b"\0" * 4096 + database.read_bytes()[4096:])
    log = database.with_name(database.name + "-wal")
    log.write_bytes(b"the log of the former file")

    restored = run_module(_MODULE, args(files))
    kept = database.with_name(database.name + ".before-inc-1-wal").read_bytes()
    log_beside_restored = log.exists()
    words_restored = words(database)
    run_module(_MODULE, restored["undo"]["args"])

    assert restored["before"]["problems"]
    assert kept == b"the log of the former file"
    assert not log_beside_restored
    assert words_restored == {"good"}
    assert log.read_bytes() == kept


def test_sqlite_restore_keeps_what_was_only_in_the_log_of_the_former_file(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    database = files[0]
    database.unlink()
    make_database(database, "damaged", wal=True)
    with other_process(
        database, "PRAGMA wal_autocheckpoint = 0;UPDATE parents SET word = 'in the log'"
    ):
        pass  # Killed: its log stays behind.
    assert database.with_name(database.name + "-wal").stat().st_size > 0

    restored = run_module(_MODULE, args(files))

    assert words(database) == {"good"}
    assert words(Path(restored["predecessor"])) == {"in the log"}


def test_sqlite_restore_takes_the_log_of_the_backup_along(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    backup = files[1]
    backup.unlink()
    make_database(backup, "good", wal=True)
    with other_process(
        backup, "PRAGMA wal_autocheckpoint = 0;UPDATE parents SET word = 'in its log'"
    ):
        pass

    run_module(_MODULE, args(files))

    assert words(files[0]) == {"in its log"}


@pytest.mark.parametrize(
    ("wal", "statements"),
    [
        pytest.param(False, "SELECT 1 FROM parents", id="open and idle"),
        pytest.param(False, "BEGIN IMMEDIATE", id="about to write"),
        pytest.param(True, "BEGIN;SELECT * FROM parents", id="reading in WAL mode"),
        pytest.param(True, "SELECT 1 FROM parents", id="idle in WAL mode"),
    ],
)
def test_sqlite_restore_refuses_a_database_in_use_unless_forced(
    files: tuple[Path, Path], run_module: RunModule, wal: bool, statements: str
) -> None:
    database = files[0]
    database.unlink()
    make_database(database, "damaged", wal=wal)
    with other_process(database, statements) as process:
        refused = run_module(_MODULE, args(files))
        predicted = run_module(_MODULE, args(files), check=True)
        words_refused = words(database)
        forced = run_module(_MODULE, args(files, force=True))
        words_forced = words(database)

    assert refused["failed"]
    assert predicted["failed"]
    assert refused["users"][0]["pid"] == process.pid
    assert f"pid {process.pid}" in refused["msg"]
    assert words_refused == {"damaged"}
    assert forced["changed"]
    assert words_forced == {"good"}


def test_sqlite_restore_finds_a_backup_cut_at_any_length(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    database, backup = files
    whole = backup.read_bytes()
    lengths = [0, 1, 99, 100, 4095, 4096, len(whole) // 2, len(whole) - 4096, len(whole) - 1]
    for length in lengths:
        backup.write_bytes(whole[:length])
        result = run_module(_MODULE, args(files))
        assert result["failed"], length
        assert "was not touched" in result["msg"], length
    assert words(database) == {"damaged"}
    assert list(database.parent.iterdir()) == [database]


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        pytest.param("INSERT INTO children VALUES (999)", "children point at rows", id="orphan"),
        pytest.param("DELETE FROM children", "check 'there are children'", id="own check"),
        pytest.param("DROP TABLE children", "check 'there are children'", id="check that errs"),
        pytest.param(
            "PRAGMA writable_schema = on; UPDATE sqlite_master SET rootpage = 2 "
            "WHERE name = 'by_word'",
            "",
            id="index that is none",
        ),
    ],
)
def test_sqlite_restore_refuses_a_backup_that_is_not_good(
    files: tuple[Path, Path], run_module: RunModule, statements: str, problem: str
) -> None:
    with closing(sqlite3.connect(files[1])) as connection:
        connection.executescript(statements)
        connection.commit()
    checks = [
        {"name": "there are children", "query": "SELECT count(*) FROM children", "expected": "1"}
    ]

    refused = run_module(
        _MODULE,
        args(files, checks=[{**checks[0], "expected": 2}] if "999" in statements else checks),
    )

    assert refused["failed"]
    assert problem in refused["msg"]
    assert refused["verification"]["problems"]
    assert words(files[0]) == {"damaged"}


def test_sqlite_restore_accepts_orphans_when_told(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    with closing(sqlite3.connect(files[1])) as connection:
        connection.execute("INSERT INTO children VALUES (999)")
        connection.commit()

    assert run_module(_MODULE, args(files, foreign_keys=False))["changed"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"restore_id": "../x"}, "cannot be part of a file name", id="id"),
        pytest.param({"lock_timeout": -1}, "must not be negative", id="timeout"),
        pytest.param({"backup": "/nowhere/app.db"}, "there is no backup", id="no backup"),
        pytest.param({"database": "/nowhere/app.db"}, "there is no folder", id="no folder"),
        pytest.param({"state": "previous"}, "took place", id="nothing to go back to"),
    ],
)
def test_sqlite_restore_refuses_bad_input_in_words(
    files: tuple[Path, Path], run_module: RunModule, options: dict[str, object], problem: str
) -> None:
    result: ModuleResult = run_module(_MODULE, args(files, **options))

    assert result["failed"]
    assert problem in result["msg"]
    assert words(files[0]) == {"damaged"}


def test_sqlite_restore_refuses_a_backup_that_is_the_database_or_was_taken_mid_transaction(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    itself = run_module(_MODULE, args(files, backup=str(files[0])))
    files[1].with_name("app.db-journal").write_bytes(b"x")
    torn = run_module(_MODULE, args(files))

    assert "is the database itself" in itself["msg"]
    assert "in the middle of a transaction" in torn["msg"]


def killed_after(files: tuple[Path, Path], state: str, delay: float) -> None:
    """A run of the module, killed at that moment."""
    process = start_module(_MODULE, args(files, state=state))
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.attack
def test_sqlite_restore_killed_at_any_moment_leaves_one_whole_database(
    files: tuple[Path, Path], run_module: RunModule
) -> None:
    database = files[0]
    moments = random.Random(7)  # noqa: S311
    started = time.monotonic()
    killed_after(files, "live", 60)
    usual = time.monotonic() - started
    for number in range(200):
        state = ("live", "previous")[number % 2]
        killed_after(files, state, usual * moments.uniform(0.5, 1.1))
        assert words(database) in ({"damaged"}, {"good"})
        run_module(_MODULE, args(files, state=state))
        expected = {"live": {"good"}, "previous": {"damaged"}}[state]
        assert words(database) == expected, number
