"""pg_restore_verified under attack: killed, with its server killed, without room, in a crowd.

Looked at from outside: the live name always answers, with wholly the old or wholly the new content,
and the next run completes.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    manifest_text,
    read_manifest,
)
from tests.module_runner import RunModule
from tests.pg_restoring import Crowd, Shop, debian_postgres
from tests.real_servers import PostgresServer, new_postgres, stop

pytestmark = pytest.mark.integration

NewShop = Callable[..., Shop]

_KILLS = 200
_SEED = 20261122
_CONTENT = "SELECT string_agg(DISTINCT v, ',') FROM (SELECT v FROM t UNION ALL SELECT v FROM u) x"


def _fill(value: str) -> str:
    return (
        "DROP TABLE IF EXISTS t, u;"
        f"CREATE TABLE t AS SELECT n AS id, '{value}' AS v FROM generate_series(1, 500) n;"
        "ALTER TABLE t ADD PRIMARY KEY (id);"
        f"CREATE TABLE u AS SELECT n AS id, '{value}' AS v FROM generate_series(1, 500) n;"
    )


@dataclass(frozen=True)
class Two:
    """A live database, and backups of its two contents by value."""

    shop: Shop
    backups: dict[str, Path]

    def arguments(self, value: str, restore_id: str, **options: Any) -> dict[str, Any]:
        return self.shop.args(
            backup=str(self.backups[value]),
            restore_id=restore_id,
            keep_predecessors=1,
            keep_staged=1,
            jobs=1,
            amcheck="none",
            **options,
        )

    def content(self, within: float = 10) -> str:
        """What the live name answers; it must answer, at once or after the swap that runs."""
        deadline = time.monotonic() + within
        while True:
            try:
                return str(self.shop.one(_CONTENT))
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def _two_on(server: PostgresServer, new_shop: NewShop, prefix: str = "attacked") -> Two:
    shop = new_shop(server, _fill("old"), prefix=prefix)
    backups = {"old": shop.backup()}
    shop.write(_fill("new"))
    backups["new"] = shop.backup()
    return Two(shop, backups)


@pytest.fixture
def two(new_shop: NewShop, either_server: PostgresServer) -> Two:
    return _two_on(either_server, new_shop)


def _fork_module(arguments: dict[str, Any]) -> int:
    """The module in a process of its own that is there at once; its process id."""
    child = os.fork()
    if child == 0:
        _be_module(arguments)
    return child


def _be_module(arguments: dict[str, Any]) -> NoReturn:
    from ansible_collections.sre.rollback.plugins.modules import pg_restore_verified

    sys.stdout = io.StringIO()
    try:
        with patch_module_args({**arguments, "_ansible_check_mode": False}):
            pg_restore_verified.main()
    except BaseException:  # noqa: BLE001, S110 - its end is looked at from outside
        pass
    finally:
        os._exit(0)


def _kill_after(child: int, delay: float) -> bool:
    """Kill it then; whether it was still at work."""
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _pid, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@dataclass
class Killed:
    """How many runs of the module were killed at work, and after which the new content was live."""

    at_work: int = 0
    through: int = 0


def _kill_at_moments(two: Two, run_module: RunModule, *, staged: bool, kills: int) -> Killed:
    """Each time: what the live name answers is whole, and the next run completes."""
    chance = random.Random(_SEED + staged)  # noqa: S311
    span = 0.25 if staged else 1.0
    killed = Killed()
    now = "new"
    for number in range(kills):
        target = {"old": "new", "new": "old"}[now]
        arguments = two.arguments(target, f"r{number}")
        if staged:
            result = run_module("pg_restore_verified", {**arguments, "state": "staged"})
            assert not result.get("failed"), result["msg"]
        child = _fork_module(arguments)

        killed.at_work += _kill_after(child, chance.uniform(0, span))

        after = two.content()
        assert after in (now, target), number
        killed.through += after == target
        result = run_module("pg_restore_verified", arguments)
        assert not result.get("failed"), (number, result["msg"])
        if result["changed"]:
            # Stops moving only once the killed one's session has ended, too.
            assert result["predecessor"]
        assert two.content() == target
        left = two.shop.names() - {two.shop.name}
        assert {name.split("__")[1][:6] for name in left} == {"before"}, left
        # As many moments before the swap as after it, however fast the machine is now.
        span = span * (1.05 if after != target else 0.97)
        now = target
    return killed


_STAGED = pytest.mark.parametrize(
    "staged",
    [pytest.param(True, id="staged before"), pytest.param(False, id="from the backup")],
)


@_STAGED
def test_module_killed_at_a_few_moments_leaves_old_or_new_and_the_next_run_completes(
    new_postgres_server: PostgresServer, new_shop: NewShop, run_module: RunModule, staged: bool
) -> None:
    _kill_at_moments(_two_on(new_postgres_server, new_shop), run_module, staged=staged, kills=3)


@pytest.mark.attack
@pytest.mark.timeout(3600)
@_STAGED
def test_module_killed_at_any_moment_leaves_old_or_new_and_the_next_run_completes(
    two: Two, run_module: RunModule, staged: bool
) -> None:
    killed = _kill_at_moments(two, run_module, staged=staged, kills=_KILLS // 2)

    assert killed.at_work > _KILLS // 4
    assert 0 < killed.through < _KILLS // 2


@pytest.mark.attack
def test_undo_killed_at_any_moment_leaves_old_or_new_and_the_next_run_completes(
    two: Two, run_module: RunModule
) -> None:
    chance = random.Random(_SEED)  # noqa: S311
    assert not run_module("pg_restore_verified", two.arguments("old", "r1")).get("failed")
    undo = two.shop.args(state="previous", restore_id="r1")
    for number in range(20):
        child = _fork_module(undo)
        _kill_after(child, chance.uniform(0, 0.1))

        assert two.content() in ("old", "new"), number
        back = run_module("pg_restore_verified", undo)
        assert not back.get("failed"), (number, back["msg"])
        assert two.content() == "new"
        again = run_module("pg_restore_verified", two.arguments("old", "r1"))
        assert not again.get("failed"), (number, again["msg"])
        assert two.content() == "old"


# --- the server goes away ------------------------------------------------------------------------


@dataclass
class Mortal:
    """A server of its own that can be killed and started again."""

    server: PostgresServer
    process: subprocess.Popen[bytes]

    def crash(self) -> None:
        """SIGKILL to the postmaster; its children notice."""
        stop(self.process, signal.SIGKILL)

    def start(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.process = self.server.start(max_connections=100)
            except psycopg.OperationalError:  # its children hold the shared memory for a moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


@pytest.fixture(params=[18, 15], ids=["PostgreSQL 18", "PostgreSQL 15"])
def mortal(world_readable_tmp: Path, request: pytest.FixtureRequest) -> Iterator[Mortal]:
    make = {18: new_postgres, 15: debian_postgres}[request.param]
    server = make(world_readable_tmp, f"data-mortal-{request.param}")
    one = Mortal(server, server.start(max_connections=100))
    yield one
    stop(one.process)


@pytest.mark.attack
def test_server_killed_at_any_moment_holds_old_or_new_and_the_next_run_completes(
    mortal: Mortal, new_shop: NewShop, run_module: RunModule
) -> None:
    two = _two_on(mortal.server, new_shop, prefix="mortal")
    chance = random.Random(_SEED)  # noqa: S311
    now = "new"
    for number in range(16):
        target = {"old": "new", "new": "old"}[now]
        arguments = two.arguments(target, f"r{number}")
        if number % 2:
            result = run_module("pg_restore_verified", {**arguments, "state": "staged"})
            assert not result.get("failed"), result["msg"]
        child = _fork_module(arguments)
        time.sleep(chance.uniform(0, 0.12 if number % 2 else 1.2))
        mortal.crash()
        os.waitpid(child, 0)

        mortal.start()

        assert two.content() in (now, target), number
        result = run_module("pg_restore_verified", arguments)
        assert not result.get("failed"), (number, result["msg"])
        assert two.content() == target
        left = two.shop.names() - {two.shop.name}
        assert {name.split("__")[1][:6] for name in left} == {"before"}, left
        now = target


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
            _fill("old")
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
        assert shop.one(_CONTENT) == "live"
        assert shop.names() == {shop.name}
        shop.write("DROP TABLE big")
        with shop.server.connect() as connection:
            connection.execute("CHECKPOINT")
        subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
        assert shop.restored(backup=str(backup), restore_id="r1")["changed"]
        assert shop.one(_CONTENT) == "old"
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
    answered: list[float] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert two.content() == "new"
            answered.append(time.monotonic() - began)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        result = shop.restore(backup=str(two.backups["old"]), restore_id="r1", swap_timeout=3)
    finally:
        done.set()
        asker.join()
        with shop.server.connect() as connection:
            connection.execute("ROLLBACK PREPARED 'held'")

    assert "The live database is as it was" in result["msg"]
    assert "lock timeout" in result["msg"]
    assert max(answered) < 2
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
def test_swap_amid_64_reconnecting_clients_is_clean_and_short(two: Two) -> None:
    shop = two.shop
    shop.restored(backup=str(two.backups["old"]), restore_id="r1", state="staged")
    crowd = Crowd(shop.server, shop.name, _CONTENT)
    time.sleep(2)

    result = shop.restored(backup=str(two.backups["old"]), restore_id="r1")

    seen = crowd.seen()
    answers = {answer for *_times, answer in seen}
    assert answers <= {"old", "new", None}
    assert {"old", "new"} <= answers
    first_new = min(end for _began, end, answer in seen if answer == "old")
    assert not [1 for began, _end, answer in seen if began > first_new and answer == "new"]
    last_before = max(end for _began, end, answer in seen if answer == "new")
    assert first_new - last_before < 1
    assert result["downtime_ms"] < 1000
    assert result["swap_attempts"] == 1
