"""pg_restore_verified behind PgBouncer: clients wait while the database is exchanged."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_pgbouncer import Pooler
from rollback_playbook.lab.postgresql import server_account
from tests.module_runner import start_module
from tests.pg_restoring import Shop
from tests.real_servers import PostgresServer, free_port, stop

pytestmark = pytest.mark.integration

_ANSWER = "SELECT string_agg(v, ',' ORDER BY id) FROM t"


@dataclass
class Bouncer:
    """A running PgBouncer, whose clients call the database ``shop``."""

    port: int
    server: PostgresServer

    @property
    def options(self) -> dict[str, Any]:
        """The options of the module."""
        return {
            "pgbouncer_login_host": "127.0.0.1",
            "pgbouncer_login_port": self.port,
            "pgbouncer_database": "shop",
        }

    def connect(self, database: str = "shop") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=self.server.password,
            dbname=database,
            autocommit=True,
            prepare_threshold=None,
        )

    def say(self, command: str) -> list[tuple[Any, ...]]:
        """A command on its console."""
        with self.connect("pgbouncer") as console:
            cursor = console.execute(command)
            return cursor.fetchall() if cursor.description else []

    @property
    def is_paused(self) -> bool:
        with self.connect("pgbouncer") as console:
            cursor = console.execute("SHOW DATABASES")
            names = [column.name for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        return any(str(row["paused"]) == "1" for row in rows if row["name"] == "shop")


@pytest.fixture
def bouncer(shop: Shop, world_readable_tmp: Path) -> Iterator[Bouncer]:
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not Path(program).exists():
        pytest.skip("there is no pgbouncer on this machine")
    port, server = free_port(), shop.server
    folder = world_readable_tmp / f"bouncer-{port}"
    folder.mkdir()
    password = server.password.replace('"', '""')
    (folder / "users.txt").write_text(f'"postgres" "{password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\nshop = host=127.0.0.1 port={server.port} dbname='{shop.name}'\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {folder}/users.txt\nadmin_users = postgres\n"
        "pool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = 10\n"
        "server_login_retry = 0\n"
    )
    account = server_account()
    if account:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, account)
    process = subprocess.Popen(
        [program, "-q", *(["-u", account] if account else []), str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    one = Bouncer(port, server)
    deadline = time.monotonic() + 30
    while True:
        try:
            one.say("SHOW VERSION")
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            break
    yield one
    stop(process, signal.SIGTERM)


@dataclass
class Asking:
    """Clients that ask all the time, over connections that they keep."""

    bouncer: Bouncer
    answers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __enter__(self) -> Asking:
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with self.bouncer.connect() as connection:
            while not self._end.is_set():
                try:
                    row = connection.execute(_ANSWER).fetchone()
                    self.answers.append(row[0] if row else "")
                except psycopg.Error as exc:
                    self.errors.append(str(exc))
                    return

    def wait_for(self, answer: str) -> None:
        deadline = time.monotonic() + 60
        while answer not in self.answers[-8:]:
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.02)


def test_clients_of_pgbouncer_wait_and_none_of_them_fails(shop: Shop, bouncer: Bouncer) -> None:
    backup = shop.backup()
    shop.write("UPDATE t SET v = 'damaged'")
    shop.restored(backup=str(backup), restore_id="r1", state="staged")
    with Asking(bouncer) as asking:
        asking.wait_for("damaged,damaged,damaged")

        shop.restored(backup=str(backup), restore_id="r1", **bouncer.options)
        asking.wait_for("a,b,c")
        shop.restored(restore_id="r1", state="previous", **bouncer.options)
        asking.answers.clear()
        asking.wait_for("damaged,damaged,damaged")

    assert asking.errors == []
    assert not bouncer.is_paused


def test_pgbouncer_is_resumed_when_the_swap_fails(shop: Shop, bouncer: Bouncer) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), restore_id="r1", state="staged")
    with shop.server.connect() as connection:
        connection.execute(
            f"BEGIN; COMMENT ON DATABASE \"{shop.name}\" IS 'held'; PREPARE TRANSACTION 'pooled'"
        )
    try:
        result = shop.restore(
            backup=str(backup), restore_id="r1", swap_timeout=0.5, **bouncer.options
        )
    finally:
        with shop.server.connect() as connection:
            connection.execute("ROLLBACK PREPARED 'pooled'")

    assert "The live database is as it was" in result["msg"]
    assert not bouncer.is_paused
    with bouncer.connect() as client:
        assert client.execute(_ANSWER).fetchone() == ("a,b,c",)


def test_pgbouncer_that_a_run_killed_before_the_swap_left_paused_is_resumed_by_the_next(
    shop: Shop, bouncer: Bouncer
) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), restore_id="r1", state="staged")
    _killed_while_paused(shop, bouncer, backup)
    assert bouncer.is_paused

    shop.restored(backup=str(backup), restore_id="r1", lock_timeout=30, **bouncer.options)

    assert not bouncer.is_paused
    with bouncer.connect() as client:
        assert client.execute(_ANSWER).fetchone() == ("a,b,c",)


class _KilledError(BaseException):
    pass


def test_pgbouncer_that_a_run_killed_after_the_swap_left_paused_is_resumed_by_the_next(
    shop: Shop, bouncer: Bouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = shop.backup()
    shop.write("UPDATE t SET v = 'damaged'")

    def die(_pooler: Pooler) -> None:
        raise _KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Pooler, "resume", die)
        with pytest.raises(_KilledError):
            shop.restore(backup=str(backup), restore_id="r1", **bouncer.options)
    assert bouncer.is_paused

    again = shop.restored(backup=str(backup), restore_id="r1", **bouncer.options)

    assert not again["changed"]
    assert not bouncer.is_paused
    with bouncer.connect() as client:
        assert client.execute(_ANSWER).fetchone() == ("a,b,c",)


def _killed_while_paused(shop: Shop, bouncer: Bouncer, backup: Path) -> None:
    arguments = shop.args(backup=str(backup), restore_id="r1", **bouncer.options)
    with shop.server.connect() as holder:
        holder.execute("BEGIN")
        holder.execute(f"COMMENT ON DATABASE \"{shop.name}\" IS 'held'")
        process = start_module("pg_restore_verified", {**arguments, "swap_timeout": 60})
        _wait_until(lambda: bouncer.is_paused)
        process.kill()
        process.communicate()
        holder.execute("ROLLBACK")


def test_killed_run_is_named_to_a_run_that_is_not_told_of_pgbouncer(
    shop: Shop, bouncer: Bouncer
) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), restore_id="r1", state="staged")
    _killed_while_paused(shop, bouncer, backup)

    result = shop.restored(backup=str(backup), restore_id="r1", lock_timeout=30)

    assert "left the clients of" in str(result["warnings"])
    assert bouncer.is_paused


def test_pgbouncer_that_somebody_paused_stays_paused(shop: Shop, bouncer: Bouncer) -> None:
    backup = shop.backup()
    bouncer.say("PAUSE shop")

    shop.restored(backup=str(backup), restore_id="r1", **bouncer.options)

    assert bouncer.is_paused


def test_transaction_that_does_not_end_is_not_waited_for_long(shop: Shop, bouncer: Bouncer) -> None:
    backup = shop.backup()
    shop.write("UPDATE t SET v = 'damaged'")
    with bouncer.connect() as client:
        client.execute("BEGIN")
        client.execute(_ANSWER)

        shop.restored(
            backup=str(backup), restore_id="r1", **{**bouncer.options, "pgbouncer_timeout": 0.2}
        )

        with pytest.raises(psycopg.Error):
            client.execute(_ANSWER)
    assert not bouncer.is_paused
    with bouncer.connect() as other:
        assert other.execute(_ANSWER).fetchone() == ("a,b,c",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"pgbouncer_login_port": 1}, "console cannot be reached", id="no pgbouncer"),
        pytest.param({"pgbouncer_database": "nowhere"}, "knows no database 'nowhere'", id="name"),
    ],
)
def test_pgbouncer_that_cannot_help_is_named_before_anything_is_changed(
    shop: Shop, bouncer: Bouncer, options: dict[str, Any], words: str
) -> None:
    backup = shop.backup()
    names = shop.names()

    for check in (True, False):
        result = shop.restore(
            backup=str(backup), restore_id="r1", check=check, **{**bouncer.options, **options}
        )
        assert words in result["msg"]
        assert "Nothing was changed" in result["msg"]
    assert shop.names() == names


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
