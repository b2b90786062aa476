"""pg_backup_verified on real servers: whole or not at all, one snapshot, nothing forgotten."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import (
    list_backups,
    write_proof,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import (
    quick_problem,
    verify_files,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import read_manifest
from tests.module_runner import start_module
from tests.pg_restoring import AWKWARD, Shop, manifest_of
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_backup_says_what_it_holds(
    new_shop: Callable[..., Shop], either_server: PostgresServer, form: str
) -> None:
    shop = new_shop(either_server, prefix=AWKWARD)

    backup = shop.backup(format=form, label="1.4.0")

    manifest = read_manifest(backup)
    assert (manifest.database, manifest.label, manifest.format) == (shop.name, "1.4.0", form)
    assert manifest.tables["public.orders"]["rows"] == 500
    assert manifest.tables["public.events_1"]["rows"] == 31
    assert manifest.tables["public.parent"]["rows"] == 2
    assert manifest.tables["public.nothing"]["rows"] == 1
    assert "public.events" not in manifest.tables
    assert manifest.large_objects["rows"] == 2
    assert manifest.sequences["public.orders_id_seq"]["before"] == [500, 1]
    assert manifest.sequences['"Ünder"."Nö"']["before"] == [-4, 1]
    assert "hstore" in manifest.extensions
    assert {"app", 'Röle "x"', "postgres"} <= set(manifest.roles)
    verify_files(backup, manifest)


def test_backup_names_every_file_with_its_checksum(shop: Shop) -> None:
    backup = shop.backup()

    files = manifest_of(backup)["files"]
    on_disk = {p.relative_to(backup).as_posix() for p in (backup / "dump").iterdir()}
    assert files.keys() == on_disk
    for name, said in files.items():
        content = (backup / name).read_bytes()
        assert said == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert sum(said["bytes"] for said in files.values()) == manifest_of(backup)["bytes"]


def test_backup_can_be_read_by_its_owner_alone(shop: Shop) -> None:
    backup = shop.backup()

    for path in (backup, *backup.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_backup_counts_and_dumps_the_same_moment_while_users_write(shop: Shop) -> None:
    shop.write("CREATE TABLE twin (id int)")
    stop = threading.Event()

    def write() -> None:
        with shop.server.connect(shop.name) as connection:
            while not stop.is_set():
                with connection.transaction():
                    connection.execute("INSERT INTO t (v) VALUES ('w')")
                    connection.execute("INSERT INTO twin VALUES (1)")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        backups = [shop.backup() for _ in range(3)]
    finally:
        stop.set()
        writer.join()

    for backup in backups:
        tables = read_manifest(backup).tables
        assert tables["public.t"]["rows"] == tables["public.twin"]["rows"] + 3
    result = shop.restored(backup=str(backups[-1]), state="staged")
    assert (
        result["tables"]["public.t"]["rows"]
        == read_manifest(backups[-1]).tables["public.t"]["rows"]
    )


def test_backup_hash_tells_contents_apart_and_not_their_order(shop: Shop) -> None:
    shop.write("CREATE TABLE o (a int, b text); INSERT INTO o VALUES (1, NULL), (2, ''), (2, '')")
    first = read_manifest(shop.backup()).tables["public.o"]
    shop.write("TRUNCATE o; INSERT INTO o VALUES (2, ''), (1, NULL), (2, '')")
    turned = read_manifest(shop.backup()).tables["public.o"]
    shop.write("TRUNCATE o; INSERT INTO o VALUES (2, ''), (1, ''), (2, '')")
    other = read_manifest(shop.backup()).tables["public.o"]

    assert first["digest"] == turned["digest"] != other["digest"]
    assert first["rows"] == other["rows"]


def test_backup_in_check_mode_makes_nothing(shop: Shop) -> None:
    result = shop.run_module("pg_backup_verified", shop.args(dest=str(shop.dest)), check=True)

    assert result["changed"]
    assert result["backup"] is None
    assert not shop.dest.exists()


def test_backup_keeps_as_many_as_it_is_told_and_the_proved_one(shop: Shop) -> None:
    oldest, older, newer = (shop.backup() for _ in range(3))
    write_proof(oldest, read_manifest(oldest), {"at": "2026-01-01T00:00:00Z"})
    foreign = shop.dest / "mine"
    foreign.mkdir()
    arguments = shop.args(dest=str(shop.dest), retention=2)

    foreseen = shop.run_module("pg_backup_verified", arguments, check=True)
    result = shop.run_module("pg_backup_verified", arguments, diff=True)

    assert foreseen["removed"] == result["removed"] == [older.name]
    there = {path.name for path in shop.dest.iterdir()}
    assert there == {oldest.name, newer.name, result["backup"]["id"], "mine"}
    assert result["diff"]["after"]["backups"][0] == result["backup"]["id"]


def test_backup_of_another_database_is_not_counted(
    shop: Shop, new_shop: Callable[..., Shop]
) -> None:
    other = new_shop(shop.server, "CREATE TABLE x ()")
    kept = other.backup()

    shop.backup(retention=1)
    shop.backup(retention=1)

    assert kept.exists()
    assert len(list_backups(shop.dest, shop.name)) == 1


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_backup_that_was_killed_is_no_backup_and_the_next_one_removes_it(
    shop: Shop, form: str
) -> None:
    shop.write("INSERT INTO t (v) SELECT repeat('x', 500) FROM generate_series(1, 50000)")
    arguments = shop.args(dest=str(shop.dest), format=form)
    process = start_module("pg_backup_verified", arguments, start_new_session=True)
    deadline = time.monotonic() + 20
    while not (shop.dest.exists() and list(shop.dest.glob(".*/dump*"))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    assert list_backups(shop.dest) == []
    left = list(shop.dest.iterdir())
    assert [path.name[0] for path in left] == ["."]
    os.utime(left[0], (0, 0))
    backup = shop.backup()
    assert list(shop.dest.iterdir()) == [backup]


def test_backup_fails_in_words_when_a_table_stays_locked(shop: Shop) -> None:
    with shop.server.connect(shop.name) as connection, connection.transaction():
        connection.execute("LOCK TABLE t")

        result = shop.run_module(
            "pg_backup_verified", shop.args(dest=str(shop.dest), lock_timeout=0.3)
        )

    assert "lock timeout" in result["msg"]
    assert "No backup was made" in result["msg"]
    assert list(shop.dest.iterdir()) == []


def test_backup_fails_in_words_when_pg_dump_fails(shop: Shop) -> None:
    shop.write("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with shop.server.connect() as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'pass-of-reader'")
    try:
        result = shop.run_module(
            "pg_backup_verified",
            shop.args(dest=str(shop.dest), login_user="reader", login_password="pass-of-reader"),
        )
    finally:
        with shop.server.connect() as connection:
            connection.execute("DROP ROLE reader")

    assert "permission denied" in result["msg"]
    assert list(shop.dest.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"database": "nowhere"}, "does not exist", id="no such database"),
        pytest.param({"login_port": 1}, "cannot connect", id="no server"),
        pytest.param({"bin_dir": "/nowhere"}, "cannot be run", id="no pg_dump"),
        pytest.param({"dest": "/proc/backups"}, "cannot write", id="no folder"),
        pytest.param({"jobs": 0}, "at least 1", id="no jobs"),
    ],
)
def test_backup_fails_in_words(shop: Shop, options: dict[str, object], words: str) -> None:
    result = shop.run_module("pg_backup_verified", {**shop.args(dest=str(shop.dest)), **options})

    assert result["failed"]
    assert words in result["msg"]
    assert "No backup was made" in result["msg"] or "Nothing was changed" in result["msg"]
    assert shop.server.password not in str(result)


def test_backup_refuses_an_older_pg_dump(shop: Shop, old_postgres_server: PostgresServer) -> None:
    old = str(old_postgres_server.cluster.bin_dir)

    result = shop.run_module("pg_backup_verified", shop.args(dest=str(shop.dest), bin_dir=old))

    assert "cannot dump a server of PostgreSQL 18" in result["msg"]


def test_backup_list_tells_what_is_not_whole(shop: Shop) -> None:
    whole, cut, lost = (shop.backup() for _ in range(3))
    longest = max((cut / "dump").iterdir(), key=lambda path: path.stat().st_size)
    longest.write_bytes(longest.read_bytes()[:-1])
    (lost / "manifest.json").unlink()

    listed = {Path(one.path): one for one in list_backups(shop.dest, shop.name)}

    assert listed[whole].complete
    assert "bytes instead of" in listed[cut].problem
    assert "there is no manifest" in listed[lost].problem
    assert quick_problem(whole, read_manifest(whole)) == ""
