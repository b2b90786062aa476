"""The lab: a real system that starts, breaks as described, survives its own crash, and goes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from rollback_playbook.errors import RefusedError
from rollback_playbook.lab import lifecycle, postgresql, processes, seeding
from rollback_playbook.lab.orders import place_orders
from rollback_playbook.lab.places import Lab

pytestmark = pytest.mark.integration

_SCALE = 0.01


def _up(directory: Path) -> lifecycle.LabStatus:
    return lifecycle.up(directory, scale=_SCALE, say=lambda _: None)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A small lab in a folder whose path is too long for a Unix socket."""
    parent = Path(tempfile.mkdtemp(prefix="rollback-lab-"))
    parent.chmod(0o755)
    directory = parent / ("a long name " * 9).strip() / "lab"
    _up(directory)
    yield Lab(directory)
    lifecycle.down(directory, purge=True)
    assert not directory.exists()


@pytest.fixture
def good_lab(lab: Lab) -> Iterator[Lab]:
    """The lab on its good release with whole data, whatever a test does to it."""
    yield lab
    lifecycle.down(lab.directory, purge=True)
    _up(lab.directory)


def _answer(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)


def _cache(lab: Lab) -> redis.Redis:
    return redis.Redis(port=lab.state().ports["valkey"], decode_responses=True)


def test_lab_is_up_with_a_healthy_shop_behind_nginx(lab: Lab) -> None:
    status = lifecycle.status(lab.directory)

    assert status.up
    assert status.release == "1.0.0"
    assert status.health == {"status": "ok", "release": "1.0.0", "schema": 1}
    assert _answer(f"{status.url}/orders/7") == 200
    assert _answer(f"{status.url}/orders/999999999") == 404


def test_lab_started_twice_keeps_its_processes_and_ports(lab: Lab) -> None:
    before = {process.pid for process in processes.running(lab, lab.state())}
    ports = lab.state().ports

    _up(lab.directory)

    assert {process.pid for process in processes.running(lab, lab.state())} == before
    assert lab.state().ports == ports


def test_lab_listens_on_loopback_only(lab: Lab) -> None:
    listening = [
        connection.laddr.ip
        for process in processes.running(lab, lab.state())
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]

    assert set(listening) == {"127.0.0.1"}


def test_lab_keeps_its_passwords_to_itself(lab: Lab) -> None:
    password = lab.state().database_password
    argv = [" ".join(process.cmdline()) for process in processes.running(lab, lab.state())]

    assert not any(password in line for line in argv)
    for path in (lab.directory / "lab.json", lab.supervisor_config, lab.inventory / "hosts.yml"):
        assert path.stat().st_mode & 0o077 == 0


def test_shop_takes_an_order_and_caches_what_it_shows(lab: Lab) -> None:
    assert place_orders(lab.state().url, 4) == 4
    _answer(f"{lab.state().url}/products/3")

    cached = json.loads(str(_cache(lab).get("product:3")))
    assert cached["id"] == 3


def test_shop_refuses_payments_while_the_breaker_is_open_and_still_shows_orders(lab: Lab) -> None:
    cache = _cache(lab)
    cache.mset({"payment:pybreaker:state": "open", "payment:pybreaker:opened_at": 2**32})
    try:
        assert place_orders(lab.state().url, 2) == 0
        assert _answer(f"{lab.state().url}/orders/7") == 200
    finally:
        cache.mset({"payment:pybreaker:state": "closed", "payment:pybreaker:fail_counter": 0})
        cache.delete("payment:pybreaker:opened_at")


def test_shop_closes_its_checkout_when_the_flag_says_so(lab: Lab) -> None:
    before = lab.flags.read_text(encoding="utf-8")
    document = json.loads(before)
    document["flags"]["checkout"]["defaultVariant"] = "off"
    lab.flags.write_text(json.dumps(document), encoding="utf-8")
    try:
        assert _eventually(lambda: place_orders(lab.state().url, 1) == 0)
    finally:
        lab.flags.write_text(before, encoding="utf-8")
    assert _eventually(lambda: place_orders(lab.state().url, 1) == 1)


def test_shop_answers_the_first_request_after_its_connections_were_ended(lab: Lab) -> None:
    with seeding.connect(lab.state(), "postgres") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'"
        )

    assert _answer(f"{lab.state().url}/orders/7") == 200


def test_bad_release_fails_a_share_of_requests_and_damages_data(good_lab: Lab) -> None:
    lifecycle.break_release(good_lab.directory)
    url = good_lab.state().url
    answers = [_answer(f"{url}/orders/{number}") for number in range(1, 41)]

    with seeding.connect(good_lab.state(), "shop") as connection:
        orphans = connection.execute(
            "SELECT count(*) FROM order_lines WHERE order_id NOT IN (SELECT id FROM orders)"
        ).fetchone()
    assert lifecycle.status(good_lab.directory).health["release"] == "1.1.0"
    assert 0 < answers.count(500) < 20
    assert answers.count(404) > 0
    assert orphans is not None
    assert int(str(orphans[0])) > 0


def test_bad_release_without_its_migration_leaves_the_data_whole(good_lab: Lab) -> None:
    lifecycle.break_release(good_lab.directory, migrate=False)

    assert lifecycle.status(good_lab.directory).health == {
        "status": "ok",
        "release": "1.1.0",
        "schema": 1,
    }


def test_lab_comes_up_after_everything_was_killed_and_its_ports_were_taken(good_lab: Lab) -> None:
    ports = good_lab.state().ports
    # The supervisor first, or it starts again what is killed.
    os.kill(_supervisor(good_lab), signal.SIGKILL)
    for process in processes.running(good_lab, good_lab.state()):
        process.kill()
    psutil.wait_procs(processes.running(good_lab, good_lab.state()), timeout=10)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert _eventually(lambda: _bound(stranger, ports["nginx"]))
        stranger.listen()

        status = _up(good_lab.directory)

        assert status.up
        assert good_lab.state().ports["nginx"] != ports["nginx"]
    assert _answer(f"{status.url}/health") == 200


def test_lab_whose_supervisor_was_killed_is_taken_down_whole(good_lab: Lab) -> None:
    state = good_lab.state()
    os.kill(_supervisor(good_lab), signal.SIGKILL)

    lifecycle.down(good_lab.directory)

    assert processes.running(good_lab, state) == []
    with pytest.raises(psycopg.OperationalError):
        seeding.connect(state, "postgres")


def test_a_folder_that_is_no_lab_is_neither_taken_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()

    with pytest.raises(RefusedError, match="is no lab"):
        _up(tmp_path)
    with pytest.raises(RefusedError, match="no lab"):
        lifecycle.down(tmp_path, purge=True)

    assert (tmp_path / "precious").exists()


def _bound(stranger: socket.socket, port: int) -> bool:
    """The kernel frees the port of a killed process a moment after the process is gone."""
    try:
        stranger.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _supervisor(lab: Lab) -> int:
    return int((lab.directory / "supervisor" / "supervisord.pid").read_text(encoding="ascii"))


def _eventually(holds: object) -> bool:
    assert callable(holds)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another account")
def test_programs_that_only_root_can_reach_are_copied_for_the_account_that_runs_them(
    world_readable_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "reachable", lambda _: False)
    directory = world_readable_tmp / "copied"
    directory.mkdir()

    first = postgresql.install(directory)
    again = postgresql.install(directory)

    assert first == again
    assert directory in first.parents
    version = subprocess.run([first / "postgres", "--version"], user=postgresql.server_account(),
                             capture_output=True, text=True, check=True)  # fmt: skip
    assert version.stdout.startswith("postgres (PostgreSQL) 18")
