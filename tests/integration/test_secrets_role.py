"""The role secrets: what several hosts and the database share is the same secret afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.real_servers import PostgresServer
from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration

_PLAYBOOK = """
- name: Switch
  hosts: app
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Files
      ansible.builtin.include_role: {name: sre.rollback.secrets, tasks_from: "{{ entry }}"}
      loop: [prepare, rotate]
      loop_control: {loop_var: entry}
- name: Switch
  hosts: database
  gather_facts: false
  tasks:
    - name: Accounts
      ansible.builtin.include_role: {name: sre.rollback.secrets, tasks_from: "{{ entry }}"}
      loop: [prepare_accounts, reset, rotate_accounts]
      loop_control: {loop_var: entry}
"""
_SCENARIO = """
- name: Breach
  ansible.builtin.import_playbook: sre.rollback.security_breach
"""
_ACCOUNT_FIRST = """
- name: Prepare
  hosts: database
  gather_facts: false
  tasks:
    - name: Accounts
      ansible.builtin.include_role: {name: sre.rollback.secrets, tasks_from: prepare_accounts}
"""


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server with an account of the shop, and a database with its customers."""
    with postgres_server.connect() as connection:
        connection.execute("CREATE ROLE rotated LOGIN PASSWORD 'first'")
        connection.execute("CREATE DATABASE rotated OWNER rotated")
    with postgres_server.connect("rotated") as connection:
        connection.execute("CREATE TABLE customers (must_reset bool NOT NULL)")
        connection.execute("INSERT INTO customers VALUES (false), (false)")
    yield postgres_server
    with postgres_server.connect() as connection:
        connection.execute("DROP DATABASE rotated WITH (FORCE)")
        connection.execute("DROP ROLE rotated")


def _log_in(server: PostgresServer, password: str) -> None:
    """Raises OperationalError where it is not the account's."""
    psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user="rotated",
        password=password,
        dbname="rotated",
    ).close()


def _environment(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


class Shop:
    """Two application servers, each with a file of its own, and the database server."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.folder = folder
        self.files = [folder / "app1.env", folder / "app2.env"]
        for path in self.files:
            path.write_text("# of the shop\nPASSWORD=first\nKEY=first\nPORT=8000\n")
            path.chmod(0o640)
        self.role = "rotated"
        #: Of app1 alone.
        self.more: list[dict[str, str]] = []
        login = {name: server.login[f"login_{name}"] for name in ("host", "port", "user")}
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            **{f"database_login_{name}": value for name, value in login.items()},
            "database_login_password": server.password,
            "database_name": "rotated",
            "secrets_reset_sql": "UPDATE customers SET must_reset = true",
            "services_names": [],
            "rollback_environment": "shop",
            "incident_id": "breach",
            "incident_lock_path": str(folder / "locks"),
        }

    def play(self, playbook: str = _PLAYBOOK, *options: str) -> subprocess.CompletedProcess[str]:
        hosts = {
            path.stem: {
                "secrets_rotated": [
                    {"name": "PASSWORD", "file": str(path), "database_role": self.role},
                    {"name": "KEY", "file": str(path)},
                ]
            }
            for path in self.files
        }
        hosts["app1"]["secrets_rotated"] += self.more
        return run_playbook(
            self.folder,
            playbook,
            {
                "all": {"vars": self.variables},
                "app": {"hosts": hosts},
                "database": {"hosts": {"db1": {}}},
            },
            *options,
        )

    def plays_through(self) -> str:
        """What was printed on the way."""
        done = self.play()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def shop(tmp_path: Path, server: PostgresServer) -> Shop:
    return Shop(tmp_path, server)


def test_what_is_shared_is_the_same_everywhere_and_nobody_was_told(
    shop: Shop, server: PostgresServer
) -> None:
    said = shop.plays_through()

    first, second = (_environment(path) for path in shop.files)
    assert first["PASSWORD"] == second["PASSWORD"]
    _log_in(server, first["PASSWORD"])
    assert len({"first", first["PASSWORD"], first["KEY"], second["KEY"]}) == 4
    assert not any(secret in said for secret in (first["PASSWORD"], first["KEY"], second["KEY"]))

    # Users have to choose new passwords, and the rest of a file and who may read it are as before.
    with server.connect("rotated") as connection:
        counted = connection.execute("SELECT DISTINCT must_reset FROM customers").fetchall()
    assert counted == [(True,)]
    for path in shop.files:
        lines = path.read_text().splitlines()
        assert (lines[0], lines[3], len(lines)) == ("# of the shop", "PORT=8000", 4)
        assert path.stat().st_mode & 0o777 == 0o640


def test_a_secret_that_a_host_does_not_have_is_refused_before_any_is_replaced(shop: Shop) -> None:
    shop.files[1].write_text("PASSWORD=first\n")

    done = shop.play()

    assert done.returncode != 0
    assert "app2 has no line for KEY" in " ".join(done.stdout.split() + done.stderr.split())
    assert _environment(shop.files[0])["PASSWORD"] == "first"


def test_an_account_that_the_database_does_not_have_is_refused_and_not_made(
    shop: Shop, server: PostgresServer
) -> None:
    shop.role = "rotatd"

    done = shop.play(_ACCOUNT_FIRST)

    assert done.returncode != 0
    said = " ".join(done.stdout.split() + done.stderr.split())
    assert "has no account rotatd" in said
    with server.connect() as connection:
        roles = connection.execute("SELECT FROM pg_roles WHERE rolname = 'rotatd'").fetchall()
    assert roles == []


def test_account_gets_what_is_in_the_files_of_a_limited_run_and_other_accounts_stay(
    shop: Shop, server: PostgresServer
) -> None:
    with server.connect() as connection:
        connection.execute("CREATE ROLE of_app1 LOGIN PASSWORD 'first'")
    shop.more = [{"name": "KEY", "file": str(shop.files[0]), "database_role": "of_app1"}]
    try:
        done = shop.play(_PLAYBOOK, "--limit", "all:!app1")

        assert done.returncode == 0, done.stdout + done.stderr
        assert _environment(shop.files[0])["PASSWORD"] == "first"
        _log_in(server, _environment(shop.files[1])["PASSWORD"])
        assert "item=rotated" in done.stdout
        assert "of_app1" not in done.stdout
    finally:
        with server.connect() as connection:
            connection.execute("DROP ROLE of_app1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param([], "", id="everybody"),
        pytest.param(
            ["--limit", "all:!app1"],
            "leaves out app1, which would not get the new secrets and has these in common with "
            "hosts of this run: rotated. Take it in",
            id="a host that shares",
        ),
        pytest.param(["--limit", "all:!app1", "-e", "secrets_left_out=app1"], "", id="on purpose"),
        pytest.param(
            ["--limit", "app"],
            "The limit leaves out the database, whose accounts rotated get new passwords",
            id="the database",
        ),
    ],
)
def test_limit_that_breaks_up_a_secret_is_refused_before_a_host_is_closed(
    shop: Shop, options: list[str], said: str
) -> None:
    done = shop.play(_SCENARIO, "--tags", "Declare", *options)

    assert ("PLAY [Protect]" in done.stdout) is (not said), done.stdout + done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())
