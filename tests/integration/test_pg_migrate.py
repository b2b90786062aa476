"""pg_migrate on a real server: down, up again, and never half a file."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule, start_module
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration

_NUMBERS = itertools.count(1)
_FILES = {
    "0001_orders.up.sql": "CREATE TABLE orders (id int)",
    "0001_orders.down.sql": "DROP TABLE orders",
    "0002_total.up.sql": "BEGIN;\nALTER TABLE orders ADD total int;\nCOMMIT;",
    "0002_total.down.sql": "BEGIN;\nALTER TABLE orders DROP total;\nCOMMIT;",
    "0010_index.up.sql": "-- no transaction\nCREATE INDEX CONCURRENTLY by_id ON orders (id);",
    "0010_index.down.sql": "-- no transaction\nDROP INDEX CONCURRENTLY by_id;",
}


class Shop:
    """A database that is migrated to version 10, and the folder of its migrations."""

    def __init__(self, server: PostgresServer, name: str, folder: Path) -> None:
        self.server, self.name, self.folder = server, name, folder
        for file, text in _FILES.items():
            (folder / file).write_text(text)
        self.execute(
            "CREATE TABLE schema_migrations (version bigint PRIMARY KEY);"
            "INSERT INTO schema_migrations VALUES (1), (2), (10);"
            "CREATE TABLE orders (id int, total int); CREATE INDEX by_id ON orders (id)"
        )

    def execute(self, statements: str) -> None:
        with self.server.connect(self.name) as connection:
            connection.execute(statements)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self.server.connect(self.name) as connection:
            return connection.execute(query).fetchall()

    def applied(self) -> list[int]:
        return [row[0] for row in self.ask("SELECT version FROM schema_migrations ORDER BY 1")]

    def columns(self) -> list[str]:
        query = (
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass('orders')"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        return [row[0] for row in self.ask(query)]

    def args(self, target: str, **options: object) -> dict[str, object]:
        given: dict[str, object] = {
            "database": self.name,
            "directory": str(self.folder),
            "table": "schema_migrations",
            "target": target,
        }
        chosen = {name: value for name, value in {**given, **options}.items() if value is not None}
        return {**self.server.login, **chosen}


@pytest.fixture
def shop(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Shop]:
    """A migrated database with a name of its own."""
    name = f"migrated {next(_NUMBERS)}"
    with postgres_server.connect() as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield Shop(postgres_server, name, tmp_path)
    with postgres_server.connect() as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_migrate_goes_down_and_its_undo_up_again(shop: Shop, run_module: RunModule) -> None:
    down = run_module("pg_migrate", shop.args("1"), diff=True)
    applied_down, columns_down = shop.applied(), shop.columns()
    again = run_module("pg_migrate", shop.args("1"))
    up = run_module("pg_migrate", {**shop.server.login, **down["undo"]["args"]})

    assert down["changed"]
    assert [each["file"] for each in down["ran"]] == ["0010_index.down.sql", "0002_total.down.sql"]
    assert [each["transaction"] for each in down["ran"]] == [False, True]
    assert down["direction"] == "down"
    assert down["diff"] == {
        "before": {"applied": ["1", "2", "10"], "newest": "10"},
        "after": {"applied": ["1"], "newest": "1"},
    }
    assert (applied_down, columns_down) == ([1], ["id"])
    assert not again["changed"]
    assert again["undo"] is None
    assert [each["version"] for each in up["ran"]] == ["0002", "0010"]
    assert shop.applied() == [1, 2, 10]
    assert shop.columns() == ["id", "total"]
    assert up["undo"]["args"]["target"] == "1"


def test_migrate_in_check_mode_lists_what_would_run_and_runs_nothing(
    shop: Shop, run_module: RunModule
) -> None:
    predicted = run_module("pg_migrate", shop.args("zero"), check=True)
    untouched = shop.applied()
    done = run_module("pg_migrate", shop.args("zero"))

    assert untouched == [1, 2, 10]
    for key in ("changed", "before", "after", "direction", "undo"):
        assert predicted[key] == done[key]
    assert [each["sha256"] for each in predicted["ran"]] == [each["sha256"] for each in done["ran"]]
    assert shop.columns() == []
    assert done["after"] == {"applied": [], "newest": None}


def test_migrate_without_a_down_file_runs_nothing_at_all(shop: Shop, run_module: RunModule) -> None:
    (shop.folder / "0002_total.down.sql").unlink()

    refused = run_module("pg_migrate", shop.args("1"))

    assert refused["failed"]
    assert "no down file for version 2" in refused["msg"]
    assert shop.applied() == [1, 2, 10]


def test_migrate_that_fails_keeps_what_was_committed_and_says_so(
    shop: Shop, run_module: RunModule
) -> None:
    file = shop.folder / "0002_total.down.sql"
    file.write_text("CREATE TABLE half ();\nALTER TABLE orders\n  DROP nonsense;")

    failed = run_module("pg_migrate", shop.args("zero"))
    half = shop.ask("SELECT to_regclass('half')")
    file.write_text("ALTER TABLE orders DROP total;")
    repaired = run_module("pg_migrate", shop.args("zero"))

    assert failed["failed"]
    assert failed["failed_file"] == "0002_total.down.sql"
    assert [each["file"] for each in failed["ran"]] == ["0010_index.down.sql"]
    assert "0002_total.down.sql failed: line 2:" in failed["msg"]
    assert "Applied now: 1, 2." in failed["msg"]
    assert half == [(None,)]
    assert [each["version"] for each in repaired["ran"]] == ["2", "1"]


def test_migrate_names_the_way_out_when_a_file_cannot_run_in_a_transaction(
    shop: Shop, run_module: RunModule
) -> None:
    (shop.folder / "0010_index.down.sql").write_text("DROP INDEX CONCURRENTLY by_id")

    failed = run_module("pg_migrate", shop.args("2"))

    assert "-- no transaction" in failed["msg"]
    assert shop.applied() == [1, 2, 10]


def test_migrate_refuses_a_file_that_notes_something_else(
    shop: Shop, run_module: RunModule
) -> None:
    (shop.folder / "0010_index.down.sql").write_text(
        "DELETE FROM schema_migrations WHERE version = 2"
    )

    failed = run_module("pg_migrate", shop.args("2"))

    assert failed["failed"]
    assert "the state should be 1, 2 and is 1" in failed["msg"]
    assert shop.applied() == [1, 2, 10]


def test_migrate_gives_up_when_a_table_stays_locked(shop: Shop, run_module: RunModule) -> None:
    run_module("pg_migrate", shop.args("2"))
    with shop.server.connect(shop.name) as other:
        other.execute("BEGIN")
        other.execute("SELECT FROM orders")
        failed = run_module("pg_migrate", shop.args("1", lock_timeout=0.1))
        other.execute("ROLLBACK")

    assert "longer than lock_timeout" in failed["msg"]
    assert shop.applied() == [1, 2]


def test_migrate_runs_once_at_a_time(shop: Shop, run_module: RunModule) -> None:
    (shop.folder / "0010_index.down.sql").write_text("SELECT pg_sleep(60)")
    process = start_module("pg_migrate", shop.args("2"))
    try:
        while not shop.ask("SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"):
            assert process.poll() is None
        refused = run_module("pg_migrate", shop.args("2"))
    finally:
        process.kill()
        process.communicate()
    shop.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query LIKE 'SELECT pg_sleep%' AND datname = current_database()"
    )

    assert "another run migrates" in refused["msg"]
    assert shop.applied() == [1, 2, 10]


def test_migrate_keeps_a_history_with_one_row_as_golang_migrate_does(
    shop: Shop, run_module: RunModule
) -> None:
    shop.execute(
        "CREATE SCHEMA meta; CREATE TABLE meta.current (version bigint, dirty boolean NOT NULL);"
        "INSERT INTO meta.current VALUES (10, true)"
    )
    history = {"table": "meta.current", "history": "current"}

    down = run_module("pg_migrate", shop.args("2", **history))
    after_down = shop.ask("SELECT * FROM meta.current")
    zero = run_module("pg_migrate", shop.args("zero", **history))
    after_zero = shop.ask("SELECT * FROM meta.current")
    up = run_module("pg_migrate", {**shop.server.login, **zero["undo"]["args"]})

    assert [each["version"] for each in down["ran"]] == ["10"]
    assert after_down == [(2, False)]
    assert after_zero == []
    assert up["after"]["newest"] == "0002"
    assert shop.ask("SELECT * FROM meta.current") == [(2, False)]


def test_migrate_reads_a_history_that_the_files_keep_themselves(
    shop: Shop, run_module: RunModule
) -> None:
    query = "SELECT version FROM schema_migrations ORDER BY version"
    options = {"table": None, "query": query}
    (shop.folder / "0010_index.down.sql").write_text(
        "DELETE FROM schema_migrations WHERE version = 10; DROP INDEX by_id"
    )
    (shop.folder / "0010_index.up.sql").unlink()

    down = run_module("pg_migrate", shop.args("2", **options))
    (shop.folder / "0002_total.down.sql").write_text("SELECT 'notes nothing'")
    failed = run_module("pg_migrate", shop.args("1", **options))

    assert down["after"]["newest"] == "2"
    assert down["undo"] is None
    assert down["undo_reason"] == "there is no up file for version 10"
    assert "the state should be 1 and is 1, 2" in failed["msg"]


def test_migrate_has_no_undo_when_the_history_wants_more_than_a_version(
    shop: Shop, run_module: RunModule
) -> None:
    shop.execute(
        "ALTER TABLE schema_migrations ADD name text; UPDATE schema_migrations SET name=''"
    )
    shop.execute("ALTER TABLE schema_migrations ALTER name SET NOT NULL")

    result = run_module("pg_migrate", shop.args("2"))

    assert result["changed"]
    assert result["undo"] is None
    assert "wants a value for name" in result["undo_reason"]


def command_args(shop: Shop, target: str, statement: str, **options: object) -> dict[str, object]:
    """The application's own migrator: a program that runs ``statement``."""
    code = (
        "import psycopg, sys; print('migrating'); "
        "psycopg.connect(sys.argv[1], autocommit=True).execute(sys.argv[2])"
    )
    conninfo = (
        f"host=127.0.0.1 port={shop.server.port} user=postgres dbname='{shop.name}' password='"
        + shop.server.password.replace("\\", "\\\\").replace("'", "\\'")
        + "'"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, conninfo, statement]
    return shop.args(target, directory=None, command=command, **options)


def test_migrate_by_command_is_a_success_only_at_the_target(
    shop: Shop, run_module: RunModule
) -> None:
    delete = "DELETE FROM schema_migrations WHERE version > 1"
    undo = command_args(shop, "", "INSERT INTO schema_migrations VALUES (2), (10)")["command"]

    predicted = run_module("pg_migrate", command_args(shop, "1", delete), check=True)
    wrong = run_module("pg_migrate", command_args(shop, "1", "SELECT 1"))
    broken = run_module("pg_migrate", command_args(shop, "1", "SELECT nonsense"))
    done = run_module("pg_migrate", command_args(shop, "1", delete, undo_command=undo))
    again = run_module("pg_migrate", command_args(shop, "1", "SELECT nonsense"))
    undone = run_module("pg_migrate", {**shop.server.login, **done["undo"]["args"]})

    assert predicted["changed"]
    assert "newest applied version is 10 and not 1" in wrong["msg"]
    assert wrong["output"] == "migrating"
    assert "ended with 1" in broken["msg"]
    assert "nonsense" in broken["output"]
    assert done["after"] == {"applied": ["1"], "newest": "1"}
    assert not again["changed"]
    assert undone["after"]["newest"] == "10"
    assert shop.applied() == [1, 2, 10]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"target": ""}, "target is empty", id="no target"),
        pytest.param({"lock_timeout": -1}, "must not be negative", id="timeout"),
        pytest.param({"directory": "/nowhere"}, "cannot list", id="no folder"),
        pytest.param({"table": "nowhere"}, "cannot be read", id="no history"),
        pytest.param({"history": "current"}, "Use history=rows", id="many rows"),
        pytest.param({"directory": None, "command": []}, "command is empty", id="no command"),
        pytest.param({"target": "99"}, "no up file", id="unknown version"),
    ],
)
def test_migrate_refuses_bad_input_in_words(
    shop: Shop, run_module: RunModule, options: dict[str, Any], words: str
) -> None:
    result = run_module("pg_migrate", shop.args(**{"target": "1", **options}))

    assert result["failed"]
    assert words in result["msg"]
    assert shop.applied() == [1, 2, 10]
