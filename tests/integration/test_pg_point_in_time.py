"""pg_point_in_time with the real pgBackRest, on a server that archives its WAL."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rollback_playbook.lab.postgresql import server_account
from tests.module_runner import RunModule, start_module
from tests.real_servers import free_port, stop

_BIN = Path("/usr/lib/postgresql/15/bin")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.attack,
    pytest.mark.skipif(
        shutil.which("pgbackrest") is None or not _BIN.is_dir(),
        reason="pgBackRest and PostgreSQL 15 of the distribution are not installed",
    ),
]


@dataclass(frozen=True)
class Archived:
    """A running server whose WAL pgBackRest keeps, and a moment before its data were damaged."""

    folder: Path
    port: int
    moment: str

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname="shop", autocommit=True
        ) as connection:
            return connection.execute(query).fetchall()

    def args(self, dest: Path, **options: object) -> dict[str, object]:
        given: dict[str, object] = {
            "database": "shop",
            "stanza": "shop",
            "config": str(self.folder / "pgbackrest.conf"),
            "target_time": self.moment,
            "dest": str(dest),
            "work_dir": str(self.folder / "work"),
            "account": server_account() or "",
            "timeout": 60,
        }
        return {**given, **options}


def run_as_server(*argv: str) -> None:
    """Run a program as the server's account."""
    account = server_account()
    groups = {"group": pwd.getpwnam(account).pw_gid, "extra_groups": []} if account else {}
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd="/", check=False, user=account, **groups
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def archived(world_readable_tmp: Path) -> Iterator[Archived]:
    """Backed up, written to, damaged; once for all tests, none of which changes its data."""
    folder = world_readable_tmp / "pitr"
    for name in ("", "data", "repo", "lock", "work", "space"):
        (folder / name).mkdir()
        if (account := server_account()) is not None:
            shutil.chown(folder / name, account)
    data, port, config = folder / "data", free_port(), folder / "pgbackrest.conf"
    config.write_text(
        f"[global]\nrepo1-path={folder}/repo\nlock-path={folder}/lock\nlog-level-file=off\n"
        f"[shop]\npg1-path={data}\npg1-port={port}\npg1-socket-path={folder}\npg1-user=postgres\n"
    )
    config.chmod(0o644)
    run_as_server(
        f"{_BIN}/initdb", f"--pgdata={data}", "--auth=trust", "--username=postgres", "--no-sync"
    )
    command = f"pgbackrest --config={config} --stanza=shop archive-push %p"
    with (data / "postgresql.conf").open("a") as handle:
        handle.write(
            f"port={port}\nlisten_addresses=''\nunix_socket_directories='{folder}'\nfsync=off\n"
            f"archive_mode=on\narchive_command='{command}'\nmax_connections=30\n"
        )
    server = started(data)
    try:
        yield Archived(folder, port, history(folder, port, config))
    finally:
        stop(server)


def started(data: Path) -> subprocess.Popen[bytes]:
    account = server_account()
    groups = {"group": pwd.getpwnam(account).pw_gid, "extra_groups": []} if account else {}
    return subprocess.Popen(
        [f"{_BIN}/postgres", "-D", str(data)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        user=account,
        **groups,
    )


def history(folder: Path, port: int, config: Path) -> str:
    """A backup, orders after it, the moment that is returned, and then the damage."""
    deadline = time.monotonic() + 30
    while True:
        try:
            connection = psycopg.connect(
                host=str(folder), port=port, user="postgres", dbname="postgres", autocommit=True
            )
            break
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with contextlib.closing(connection):
        connection.execute("CREATE DATABASE shop")
        connection.execute(f"CREATE TABLESPACE elsewhere LOCATION '{folder}/space'")
    run_as_server("pgbackrest", f"--config={config}", "--stanza=shop", "stanza-create")
    with psycopg.connect(
        host=str(folder), port=port, user="postgres", dbname="shop", autocommit=True
    ) as shop:
        shop.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        shop.execute("CREATE TABLE lines (id int PRIMARY KEY) TABLESPACE elsewhere")
        shop.execute("INSERT INTO orders VALUES (1)")
        run_as_server("pgbackrest", f"--config={config}", "--stanza=shop", "--start-fast", "backup")
        time.sleep(1)
        shop.execute("INSERT INTO orders VALUES (2); INSERT INTO lines VALUES (1)")
        row = shop.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'").fetchone()
        assert row is not None
        time.sleep(0.1)
        shop.execute("DELETE FROM orders; DROP TABLE lines")
        shop.execute("SELECT pg_switch_wal()")
    return f"{row[0].isoformat()}Z"


def test_point_in_time_makes_a_backup_of_the_moment_and_leaves_the_live_server(
    archived: Archived, tmp_path: Path, run_module: RunModule
) -> None:
    predicted = run_module("pg_point_in_time", archived.args(tmp_path), check=True)
    left_by_check_mode = list(tmp_path.iterdir())

    result = run_module("pg_point_in_time", archived.args(tmp_path), diff=True)
    again = run_module("pg_point_in_time", archived.args(tmp_path))

    assert predicted["changed"]
    assert predicted["base_backup"] == result["base_backup"]
    assert left_by_check_mode == []
    assert result["changed"]
    manifest = json.loads((Path(result["backup"]["path"]) / "manifest.json").read_text())
    assert {name: table["rows"] for name, table in manifest["tables"].items()} == {
        "public.lines": 1,
        "public.orders": 2,
    }
    assert result["reached"] is not None
    assert result["reached"][:16] == archived.moment.replace("T", " ")[:16]
    assert not again["changed"]
    assert again["backup"] == result["backup"]
    assert archived.ask("SELECT * FROM orders") == []
    assert list((archived.folder / "work").iterdir()) == []
    listed = run_module("pg_backup_info", {"dest": str(tmp_path), "database": "shop"})
    assert listed["backups"][0]["complete"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"target_time": "2001-01-01"}, "no backup that was complete", id="too early"),
        pytest.param({"target_time": "2999-01-01"}, "in the future", id="future"),
        pytest.param({"target_time": "noon"}, "target_time='noon' is no", id="no time"),
        pytest.param({"stanza": "nope"}, "pgBackRest says of stanza 'nope'", id="no stanza"),
        pytest.param({"bin_dir": "/nowhere"}, "are not in /nowhere", id="no programs"),
        pytest.param({"work_dir": "/nowhere"}, "there is no folder", id="no folder"),
        pytest.param({"jobs": 0}, "jobs must be", id="no jobs"),
        pytest.param({"work_dir": "/" + "x" * 80}, "there is no folder", id="long folder"),
        pytest.param({"database": "nope"}, "'nope'", id="no such database then"),
    ],
)
def test_point_in_time_refuses_in_words_and_leaves_nothing(
    archived: Archived,
    tmp_path: Path,
    run_module: RunModule,
    options: dict[str, object],
    words: str,
) -> None:
    result = run_module("pg_point_in_time", archived.args(tmp_path, **options))

    assert result["failed"]
    assert words in result["msg"]
    assert list(tmp_path.iterdir()) == []
    assert list((archived.folder / "work").iterdir()) == []


def test_point_in_time_backup_passes_the_proof_of_every_backup(
    archived: Archived, tmp_path: Path, run_module: RunModule
) -> None:
    made = run_module("pg_point_in_time", archived.args(tmp_path))

    staged = run_module(
        "pg_restore_verified",
        {
            "login_unix_socket": str(archived.folder),
            "login_port": archived.port,
            "bin_dir": str(_BIN),
            "database": "shop",
            "backup": made["backup"]["path"],
            "restore_id": "moment",
            "state": "staged",
            "checks": [{"name": "both", "query": "SELECT count(*) FROM orders", "expected": 2}],
        },
    )

    assert not staged.get("failed"), staged["msg"]
    assert archived.ask("SELECT * FROM orders") == []


def test_point_in_time_after_the_last_archived_transaction_is_refused(
    archived: Archived, tmp_path: Path, run_module: RunModule
) -> None:
    (row,) = archived.ask("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::text")

    result = run_module("pg_point_in_time", archived.args(tmp_path, target_time=f"{row[0]}"))

    assert result["failed"]
    assert "the archived WAL ends before target_time" in result["msg"]
    assert list(tmp_path.iterdir()) == []


def test_point_in_time_run_removes_what_a_killed_run_left(
    archived: Archived, tmp_path: Path, run_module: RunModule
) -> None:
    work = archived.folder / "work"
    process = start_module("pg_point_in_time", archived.args(tmp_path))
    pids: list[Path] = []
    while not pids and process.poll() is None:
        pids = list(work.glob("*/data/postmaster.pid"))
    process.kill()
    process.communicate()
    pid = int(pids[0].read_text().split("\n", 1)[0])

    result = run_module("pg_point_in_time", archived.args(tmp_path))

    assert not result.get("failed")
    assert list(work.iterdir()) == []
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
    assert not Path(f"/proc/{pid}").exists()
