"""``sqlite-restore`` under an application that has its database open."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_servers import free_port
from tests.supervised import Supervised

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_APPLICATION = """
import http.server, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], check_same_thread=False)
class Users(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            body = str(connection.execute("SELECT count(*) FROM users").fetchone()[0]).encode()
            self.send_response(200 if body != b"0" else 500)
        except sqlite3.Error as error:
            body = str(error).encode()
            self.send_response(500)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Users).serve_forever()
"""


class Shop:
    """An application on a SQLite database, under supervisor, and somebody with the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "shop.db"
        self.backups = folder / "backups"
        self.backups.mkdir()
        self._port = free_port()
        self.fill(self.database, 3)
        self.fill(self.backups / "shop-1.db", 2)
        self._host = self._supervised()
        self.wait_for(200)

    def stop(self) -> None:
        self._host.stop()

    def fill(self, path: Path, users: int) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
            connection.executemany("INSERT INTO users VALUES (?)", [(n,) for n in range(users)])
        connection.close()

    def _supervised(self) -> Supervised:
        (self.folder / "shop.py").write_text(_APPLICATION)
        program = f"exec {sys.executable} shop.py {self.database} {self._port}"
        host = Supervised(self.folder, {"shop": program})
        check = {"name": "users are there", "http": {"url": self.url, "status": [200]}}
        rows = {
            "name": "there are users",
            "query": "SELECT count(*) > 0 FROM users",
            "expected": 1,
        }
        host.write_inventory(
            {
                "app": {"app1": {"sqlite_database": str(self.database)}, "app2": {}},
                "proxy": {"app2": {}},
            },
            sqlite_services=["shop"],
            sqlite_backup_dir=str(self.backups),
            sqlite_checks=[rows],
            verify_checks=[check],
            verify_confirm_checks=[check],
        )
        return host

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def users(self) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def wait_for(self, status: int) -> None:
        until = time.monotonic() + 30
        while self.users()[0] != status:
            assert time.monotonic() < until, self.users()
            time.sleep(0.1)

    def types(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self._host.types(*argv)

    def lose_users(self) -> None:
        """What a script with the wrong condition does."""
        with sqlite3.connect(self.database) as connection:
            connection.execute("DELETE FROM users")
        connection.close()
        self.wait_for(500)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.stop()


def test_database_goes_back_to_the_newest_backup_and_undo_takes_that_back(shop: Shop) -> None:
    shop.lose_users()

    done = shop.types("sqlite-restore")

    assert done.returncode == 0, done.stderr
    assert shop.users() == (200, "2")
    (kept,) = shop.folder.glob("shop.db.before-*")
    assert sqlite3.connect(kept).execute("SELECT count(*) FROM users").fetchone() == (0,)

    undone = shop.types("undo", "last")

    # What was broken before is broken again, and the gate says so.
    assert undone.returncode == 5, undone.stderr
    assert shop.users() == (500, "0")


@pytest.mark.drill
def test_a_second_restore_of_the_same_backup_is_refused_while_everything_runs_on(
    shop: Shop,
) -> None:
    shop.lose_users()
    done = shop.types("sqlite-restore")
    inode = shop.database.stat().st_ino

    again = shop.types("sqlite-restore", "-e", "sqlite_force=false")

    assert done.returncode == 0, done.stderr
    assert again.returncode == 3, again.stderr
    assert "has the content of" in again.stderr
    assert shop.database.stat().st_ino == inode
    assert len(list(shop.folder.glob("shop.db.before-*"))) == 1
    assert shop.users() == (200, "2")


@pytest.mark.drill
def test_backup_that_is_named_is_the_one(shop: Shop) -> None:
    other = shop.folder / "other.db"
    shop.fill(other, 7)
    shop.lose_users()

    done = shop.types("sqlite-restore", "--backup", str(other))

    assert done.returncode == 0, done.stderr
    assert shop.users() == (200, "7")


def test_backup_that_is_damaged_is_refused_while_everything_runs_on(shop: Shop) -> None:
    backup = shop.backups / "shop-1.db"
    content = backup.read_bytes()
    backup.write_bytes(content[: len(content) // 2])
    before = shop.database.read_bytes()

    done = shop.types("sqlite-restore")

    assert done.returncode == 3, done.stderr
    assert shop.database.read_bytes() == before
    assert shop.users() == (200, "3")


def test_host_without_a_backup_and_inventory_without_a_database_are_refused(shop: Shop) -> None:
    (shop.backups / "shop-1.db").unlink()
    nothing = shop.types("sqlite-restore")
    hosts = shop.folder / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("sqlite_database", "other_database"))
    nowhere = shop.types("sqlite-restore")

    assert (nothing.returncode, nowhere.returncode) == (3, 3)
    assert "There is no backup of" in nothing.stderr
    assert "says where its SQLite database is" in nowhere.stderr
    assert shop.users() == (200, "3")


@pytest.mark.drill
def test_database_that_somebody_else_has_open_is_told_and_the_application_runs_on(
    shop: Shop,
) -> None:
    reader = sqlite3.connect(shop.database)
    reader.execute("SELECT count(*) FROM users").fetchone()

    done = shop.types("sqlite-restore")
    reader.close()

    assert done.returncode == 4, done.stderr
    (said,) = (line for line in done.stderr.splitlines() if "Switch, app1: " in line)
    assert "is open in python" in said
    assert "could not be" not in said
    shop.wait_for(200)
    assert shop.users() == (200, "3")


@pytest.mark.drill
def test_look_ahead_goes_through_while_the_application_has_its_database_open(shop: Shop) -> None:
    done = shop.types("sqlite-restore", "--check")

    assert done.returncode == 0, done.stderr
    assert "it would go through" in done.stderr
    assert shop.users() == (200, "3")
    assert not list(shop.folder.glob("shop.db.before-*"))
