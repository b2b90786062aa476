"""pg_restore_verified without room, against locks, in a crowd: nothing is lost, nobody is stuck."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    manifest_text,
    read_manifest,
)
from tests.pg_crowd import Crowd
from tests.pg_two_contents import CONTENT, NewShop, Two, fill
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration


# --- no room -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(world_readable_tmp: Path) -> Iterator[Path]:
    """A file system of 48 MiB that the server's account may write to."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = world_readable_tmp / f"small-{time.monotonic_ns()}"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m,mode=0777", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.attack
def test_disk_that_fills_up_during_a_restore_leaves_the_live_database_alone(
    new_shop: NewShop,
    either_server: PostgresServer,
    small_disk: Path,
) -> None:
    space = small_disk / "space"
    space.mkdir()
    shutil.chown(space, either_server.cluster.account)
    shop = new_shop(either_server, "SELECT 1", prefix="crowded")
    with shop.server.connect() as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        connection.execute(f'ALTER DATABASE "{shop.name}" SET TABLESPACE small')
    try:
        shop.write(
            fill("old")
            + "CREATE TABLE big AS SELECT n, repeat('x', 900) AS x FROM generate_series(1, 20000) n"
        )
        backup = shop.backup()
        shop.write("UPDATE t SET v = 'live'; UPDATE u SET v = 'live'")

        refused = shop.restore(backup=str(backup), restore_id="r1")
        manifest = replace(read_manifest(backup), database_bytes=1)
        (backup / "manifest.json").write_text(manifest_text(manifest))
        result = shop.restore(backup=str(backup), restore_id="r1")

        assert f"{space} has" in refused["msg"]
        assert "make room" in refused["msg"]
        assert "No space left on device" in result["msg"]
        assert "The live database was not touched" in result["msg"]
        assert shop.one(CONTENT) == "live"
        assert shop.names() == {shop.name}
        shop.write("DROP TABLE big")
        with shop.server.connect() as connection:
            connection.execute("CHECKPOINT")
        subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
        assert shop.restored(backup=str(backup), restore_id="r1")["changed"]
        assert shop.one(CONTENT) == "old"
    finally:
        shop.drop()
        with shop.server.connect() as connection:
            connection.execute("DROP TABLESPACE small")


@pytest.mark.attack
def test_disk_that_fills_up_during_a_backup_leaves_no_backup(
    new_shop: NewShop, either_server: PostgresServer, small_disk: Path
) -> None:
    shop = new_shop(
        either_server,
        "CREATE TABLE noise AS SELECT n, (SELECT string_agg(md5(n::text || m), '')"
        " FROM generate_series(1, 80) m) AS x FROM generate_series(1, 40000) n",
    )
    whole = shop.run_module("pg_backup_verified", shop.args(dest=str(small_disk / "b")))

    assert "No space left on device" in whole["msg"]
    assert "No backup was made" in whole["msg"]
    assert list((small_disk / "b").iterdir()) == []


# --- locks ---------------------------------------------------------------------------------------


@pytest.mark.attack
def test_prepared_transaction_that_appears_late_stops_the_swap_and_nothing_else(two: Two) -> None:
    shop = two.shop
    shop.restored(backup=str(two.backups["old"]), restore_id="r1", state="staged")
    with shop.server.connect() as connection:
        connection.execute(
            f"BEGIN; COMMENT ON DATABASE \"{shop.name}\" IS 'held'; PREPARE TRANSACTION 'held'"
        )
    answers: set[str] = set()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answers.add(shop.one(CONTENT))
            except psycopg.Error as exc:
                answers.add(str(exc))

    user = shop.server.connect(shop.name)
    asker = threading.Thread(target=ask)
    asker.start()
    try:
        result = shop.restore(backup=str(two.backups["old"]), restore_id="r1", swap_timeout=3)
    finally:
        done.set()
        asker.join()
        with shop.server.connect() as connection:
            connection.execute("ROLLBACK PREPARED 'held'")
        with user:
            user.execute("SELECT 1")

    assert "The live database is as it was" in result["msg"]
    assert "lock timeout" in result["msg"]
    assert answers == {"new"}
    assert two.content() == "new"
    assert shop.restored(backup=str(two.backups["old"]), restore_id="r1")["changed"]
    assert two.content() == "old"


@pytest.mark.attack
def test_session_that_does_not_end_at_once_is_waited_for(two: Two) -> None:
    """A stopped backend ends when it goes on."""
    shop = two.shop
    shop.restored(backup=str(two.backups["old"]), restore_id="r1", state="staged")
    stubborn = shop.server.connect(shop.name)
    backend = stubborn.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    waker = threading.Timer(6, os.kill, (backend, signal.SIGCONT))
    waker.start()
    try:
        result = shop.restored(backup=str(two.backups["old"]), restore_id="r1", swap_timeout=30)
    finally:
        waker.join()
        stubborn.close()

    assert result["swap_attempts"] > 1
    assert two.content() == "old"


# --- a crowd -------------------------------------------------------------------------------------


@pytest.mark.attack
def test_swap_amid_64_reconnecting_clients_is_clean(two: Two) -> None:
    shop = two.shop
    shop.restored(backup=str(two.backups["old"]), restore_id="r1", state="staged")
    crowd = Crowd(shop.server, shop.name, CONTENT)

    result = shop.restored(backup=str(two.backups["old"]), restore_id="r1")

    seen = crowd.seen()
    answers = {answer for *_times, answer in seen}
    assert answers <= {"old", "new", None}
    assert {"old", "new"} <= answers
    first_new = min(end for _began, end, answer in seen if answer == "old")
    assert not [1 for began, _end, answer in seen if began > first_new and answer == "new"]
    assert result["swap_attempts"] == 1
