"""One holder at a time, on every backend."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule, start_module
from tests.real_servers import PostgresServer, RedisServer

pytestmark = pytest.mark.integration

_RACERS = 12

Backend = dict[str, Any]


@pytest.fixture(params=["file", "redis", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """The options of one backend with nothing in it."""
    if request.param == "file":
        yield {"backend": "file", "path": str(tmp_path / "locks")}
        return
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("valkey_server")
        yield {"backend": "redis", **server.login}
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    login = {name: value for name, value in postgres.login.items() if name != "bin_dir"}
    yield {"backend": "postgres", **login}
    with postgres.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS rollback_environment_lock")


@pytest.fixture
def lock(run_module: RunModule, backend: Backend) -> Callable[..., dict[str, Any]]:
    """``lock(holder="ann", ...)`` runs the module for the environment prod."""

    def run(*, check: bool = False, **options: Any) -> dict[str, Any]:
        args = {**backend, "environment": "prod", **options}
        return run_module("environment_lock", args, check=check)

    return run


def test_lock_is_held_by_the_first_and_refused_to_the_second_in_words(
    lock: Callable[..., dict[str, Any]],
) -> None:
    first = lock(holder="ann (inc-1)", reason="double charges")
    second = lock(holder="bob (inc-2)")

    assert first["changed"]
    assert first["after"]["holder"] == "ann (inc-1)"
    assert second["failed"]
    assert "held by ann (inc-1)" in second["msg"]
    assert "double charges" in second["msg"]
    assert "--take-over" in second["msg"]
    assert second["lock"]["holder"] == "ann (inc-1)"


def test_lock_is_renewed_by_its_holder_with_its_token(lock: Callable[..., dict[str, Any]]) -> None:
    first = lock(holder="ann", ttl=5)
    renewed = lock(holder="ann", ttl=500, token=first["token"])

    assert renewed["token"] == first["token"]
    assert renewed["after"]["expires"] > first["after"]["expires"]


def test_lock_is_free_after_its_release_and_a_second_release_changes_nothing(
    lock: Callable[..., dict[str, Any]],
) -> None:
    token = lock(holder="ann")["token"]

    assert lock(state="released", token=token)["changed"]
    assert not lock(state="released", token=token)["changed"]
    assert lock(holder="bob")["token"] > token


def test_lock_of_a_killed_holder_frees_itself_at_its_expiry(
    lock: Callable[..., dict[str, Any]],
) -> None:
    lock(holder="ann", ttl=0.3)
    time.sleep(0.35)

    assert lock(holder="bob")["after"]["holder"] == "bob"


def test_lock_refuses_a_late_holder_with_an_old_token(lock: Callable[..., dict[str, Any]]) -> None:
    late = lock(holder="ann", ttl=0.2)["token"]
    time.sleep(0.25)
    lock(holder="bob")

    renewal = lock(holder="ann", token=late)
    release = lock(state="released", token=late)

    assert renewal["failed"]
    assert release["failed"]
    assert lock(holder="eve")["lock"]["holder"] == "bob"


def test_lock_is_taken_over_with_a_reason_and_a_higher_token(
    lock: Callable[..., dict[str, Any]],
) -> None:
    first = lock(holder="ann")

    without = lock(holder="bob", state="stolen", reason=" ")
    taken = lock(holder="bob", state="stolen", reason="ann is asleep")

    assert "needs a reason" in without["msg"]
    assert taken["token"] > first["token"]
    assert taken["before"]["holder"] == "ann"


def test_lock_in_check_mode_predicts_and_takes_nothing(
    lock: Callable[..., dict[str, Any]],
) -> None:
    predicted = lock(holder="ann", check=True)

    assert predicted["changed"]
    assert lock(holder="bob")["after"]["holder"] == "bob"


def test_lock_undo_gives_the_lease_back(
    run_module: RunModule, lock: Callable[..., dict[str, Any]], backend: Backend
) -> None:
    undo = lock(holder="ann")["undo"]

    assert undo["module"] == "sre.rollback.environment_lock"
    assert "login_password" not in undo["args"]
    assert run_module("environment_lock", {**backend, **undo["args"]})["changed"]


def test_lock_raced_for_by_many_processes_is_held_by_exactly_one(backend: Backend) -> None:
    racers = [
        start_module("environment_lock", {**backend, "environment": "race", "holder": f"r{n}"})
        for n in range(_RACERS)
    ]
    results = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]

    assert sum("failed" not in result for result in results) == 1


@pytest.mark.attack
def test_lock_raced_for_by_fifty_processes_is_held_by_exactly_one(backend: Backend) -> None:
    racers = [
        start_module("environment_lock", {**backend, "environment": "race", "holder": f"r{n}"})
        for n in range(50)
    ]
    results = [json.loads(racer.communicate(timeout=120)[0]) for racer in racers]

    assert sum("failed" not in result for result in results) == 1


def test_lock_file_that_is_damaged_is_refused_and_left_alone(
    run_module: RunModule, tmp_path: Path
) -> None:
    (tmp_path / "prod.json").write_text("{", encoding="ascii")

    result = run_module(
        "environment_lock", {"path": str(tmp_path), "environment": "prod", "holder": "ann"}
    )

    assert "does not hold a lease" in result["msg"]
    assert (tmp_path / "prod.json").read_text(encoding="ascii") == "{"


def test_lock_on_a_server_that_is_not_there_says_so_without_the_password(
    run_module: RunModule,
) -> None:
    args = {"environment": "prod", "holder": "ann", "login_port": 1, "login_password": "s3cret"}
    for name in ("redis", "postgres"):
        result = run_module("environment_lock", {**args, "backend": name})
        assert result["failed"]
        assert "s3cret" not in json.dumps(result)
