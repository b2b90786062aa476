"""pg_backup_info on folders as pg_backup_verified leaves them, and on damaged ones."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import write_proof
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump import Request, create
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import read_manifest
from tests.module_runner import RunModule
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server with a database to back up."""
    with postgres_server.connect() as connection:
        connection.execute("CREATE DATABASE listed")
    with postgres_server.connect("listed") as connection:
        connection.execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 100) n")
    yield postgres_server
    with postgres_server.connect() as connection:
        connection.execute("DROP DATABASE listed")


@pytest.fixture
def backup(server: PostgresServer, tmp_path: Path) -> Path:
    """A real backup below ``tmp_path``, labelled 2.3.1."""
    request = Request(server.login, "listed", tmp_path, "directory", 1, "2.3.1", 5.0)
    return create(request)


def test_pg_backup_info_lists_a_whole_backup_with_age_and_size(
    backup: Path, tmp_path: Path, run_module: RunModule
) -> None:
    result = run_module("pg_backup_info", {"dest": str(tmp_path), "database": "listed"})

    (found,) = result["backups"]
    assert not result["changed"]
    assert found["id"] == backup.name
    assert found["path"] == str(backup)
    assert (found["database"], found["label"]) == ("listed", "2.3.1")
    assert found["complete"]
    assert found["problem"] is None
    assert found["proved"] is None
    assert found["bytes"] > 0
    assert found["age"] >= 0
    assert found["server_version"] // 10000 == 18


def test_pg_backup_info_tells_when_a_restore_proved_this_very_backup(
    backup: Path, tmp_path: Path, run_module: RunModule
) -> None:
    proof = {"at": "2026-03-04T02:05:00Z", "how": "staged"}
    write_proof(backup, read_manifest(backup), proof)
    (proved,) = run_module("pg_backup_info", {"dest": str(tmp_path)})["backups"]
    noted = json.loads((backup / "proved.json").read_text())
    (backup / "proved.json").write_text(json.dumps({**noted, "manifest_sha256": "another"}))
    (not_proved,) = run_module("pg_backup_info", {"dest": str(tmp_path)})["backups"]

    assert proved["proved"] == proof
    assert not_proved["proved"] is None


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param({"label": "2.3.1"}, 1, id="its label"),
        pytest.param({"label": "2.4.0"}, 0, id="another label"),
        pytest.param({"database": "shop"}, 0, id="another database"),
    ],
)
def test_pg_backup_info_filters_by_database_and_label(
    backup: Path,
    tmp_path: Path,
    run_module: RunModule,
    options: dict[str, str],
    count: int,
) -> None:
    result = run_module("pg_backup_info", {"dest": str(tmp_path), **options})

    assert [found["id"] for found in result["backups"]] == [backup.name] * count


def test_pg_backup_info_lists_what_is_not_whole_with_the_reason(
    backup: Path, tmp_path: Path, run_module: RunModule
) -> None:
    (tmp_path / "no manifest").mkdir()
    for name in ("cut", "changed"):
        shutil.copytree(backup, tmp_path / name)
    largest = max((tmp_path / "cut" / "dump").rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    manifest = tmp_path / "changed" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("2.3.1", "2.3.2"))
    (tmp_path / ".killed.partial").mkdir()
    (tmp_path / ".running.partial").mkdir()
    running = os.open(tmp_path / ".running.partial", os.O_RDONLY)
    fcntl.flock(running, fcntl.LOCK_EX)

    result = run_module("pg_backup_info", {"dest": str(tmp_path), "database": "listed"})
    os.close(running)

    problems = {Path(each["path"]).name: each["problem"] for each in result["backups"]}
    assert problems.pop(backup.name) is None
    assert "no manifest" in problems.pop("no manifest")
    assert "bytes instead of" in problems.pop("cut")
    assert "checksum" in problems.pop("changed")
    assert "interrupted" in problems.pop(".killed.partial")
    assert "right now" in problems.pop(".running.partial")
    assert not problems
    assert result["before"] == {"backups": 6, "complete": 1}


def test_pg_backup_info_of_a_missing_folder_lists_nothing_and_warns(
    tmp_path: Path, run_module: RunModule
) -> None:
    result = run_module("pg_backup_info", {"dest": str(tmp_path / "nowhere")}, check=True)

    assert result["backups"] == []
    assert "does not exist" in json.dumps(result["warnings"])
