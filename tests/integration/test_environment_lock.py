"""One holder at a time, on every backend."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule, start_module
from tests.real_servers import PostgresServer, RedisServer, free_port, start_valkey, stop
from tests.redis_topologies import (
    RedisClusterServers,
    make_certificates,
    start_sentinel,
    tls_front,
    wait_until,
)

pytestmark = pytest.mark.integration

Backend = dict[str, Any]

# Fifty processes that wait for one signal and then ask for the same lease. The program says who
# got it and with which token; a process that ends in another way than a refusal makes it fail.
_RACE = """
import json, os, sys
from ansible_collections.sre.rollback.plugins.module_utils import (
    _lock_backend, _lock_postgres, _lock_redis
)
from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import LockError, Request
params, racers = json.loads(sys.argv[1]), int(sys.argv[2])
ready, start = os.pipe()
for number in range(racers):
    if os.fork() == 0:
        os.close(start)
        os.read(ready, 1)
        request = Request("race", "held", holder=f"racer {number}", ttl=600)
        try:
            _before, after, _now = _lock_backend.exchange(params, request, write=True)
        except LockError as exc:
            os._exit(3 if "is locked: held by racer" in str(exc) else 4)
        os.write(1, f"{after.token}\\n".encode())
        os._exit(0)
os.close(start)
ends = [os.waitstatus_to_exitcode(os.wait()[1]) for _each in range(racers)]
sys.exit(0 if sorted(ends) == [0] + [3] * (racers - 1) else f"ends {sorted(ends)}")
"""

# Takes, renews and gives back without an end, until it is killed.
_BUSY = """
import itertools, json, sys
from ansible_collections.sre.rollback.plugins.module_utils import _lock_backend
from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import LockError, Request
params, name, token = json.loads(sys.argv[1]), sys.argv[2], None
for state in itertools.cycle(["held", "held", "released"]):
    if state == "released" and token is None:
        continue
    request = Request("busy", state, holder=name, ttl=0.05, token=token)
    try:
        _before, after, _now = _lock_backend.exchange(params, request, write=True)
    except LockError:
        token = None
        continue
    if token is None and state == "held":
        print(after.token, flush=True)
    token = after.token if state == "held" else None
"""


def _options_of(request: pytest.FixtureRequest, name: str, folder: Path) -> Iterator[Backend]:
    """The options of one backend with nothing in it."""
    if name == "file":
        yield {"backend": "file", "path": str(folder / "locks")}
        return
    if name in ("redis", "cluster"):
        fixture = {"redis": "valkey_server", "cluster": "cluster"}[name]
        server: RedisServer | RedisClusterServers = request.getfixturevalue(fixture)
        yield {"backend": "redis", **server.login}
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    login = {name: value for name, value in postgres.login.items() if name != "bin_dir"}
    yield {"backend": "postgres", **login}
    with contextlib.closing(postgres.connect()) as connection:
        connection.execute("DROP TABLE IF EXISTS rollback_environment_lock")


@pytest.fixture(params=["file", "redis", "cluster", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """The options of each backend with nothing in it."""
    yield from _options_of(request, request.param, tmp_path)


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


def test_lock_raced_for_by_fifty_processes_is_held_by_exactly_one(backend: Backend) -> None:
    options = {"login_user": None, "database": "postgres", "schema": "public", **backend}

    race = subprocess.run(
        [sys.executable, "-c", _RACE, json.dumps(options), "50"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (race.returncode, race.stderr) == (0, "")
    assert race.stdout == "1\n"


@pytest.mark.attack
def test_lock_raced_for_by_fifty_modules_is_held_by_exactly_one(backend: Backend) -> None:
    # Each is a Python of its own, as Ansible starts it.
    racers = [
        start_module("environment_lock", {**backend, "environment": "race", "holder": f"r{n}"})
        for n in range(50)
    ]
    try:
        results = [json.loads(racer.communicate(timeout=240)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()

    assert sum("failed" not in result for result in results) == 1


@pytest.mark.attack
def test_lock_whose_users_are_killed_at_any_moment_gives_every_token_once(
    lock: Callable[..., dict[str, Any]], backend: Backend
) -> None:
    options = {"login_user": None, "database": "postgres", "schema": "public", **backend}
    chance = random.Random(7)  # noqa: S311 - the same moments each time
    tokens: list[int] = []
    for number in range(20):
        users = [
            subprocess.Popen(
                [sys.executable, "-c", _BUSY, json.dumps(options), f"user {number}.{each}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for each in range(3)
        ]
        # All three are at it when the first has had the lock.
        assert users[0].stdout is not None
        tokens.append(int(users[0].stdout.readline()))
        time.sleep(chance.random())
        for user in users:
            user.kill()
        for user in users:
            output = user.communicate()[0]
            tokens += [int(line) for line in output.splitlines(keepends=True) if line[-1] == "\n"]

    assert len(tokens) == len(set(tokens))
    time.sleep(0.1)
    assert lock(environment="busy", holder="ann")["token"] > max(tokens)


def test_lock_file_that_is_damaged_is_refused_and_left_alone(
    run_module: RunModule, tmp_path: Path
) -> None:
    (tmp_path / "prod.json").write_text("{", encoding="ascii")

    result = run_module(
        "environment_lock", {"path": str(tmp_path), "environment": "prod", "holder": "ann"}
    )

    assert "does not hold a lease" in result["msg"]
    assert (tmp_path / "prod.json").read_text(encoding="ascii") == "{"


def test_lock_renewal_is_no_change_and_has_no_undo(lock: Callable[..., dict[str, Any]]) -> None:
    token = lock(holder="ann", reason="why")["token"]

    renewed = lock(holder="ann", token=token, ttl=100)

    assert (renewed["changed"], renewed["renewed"], renewed["undo"]) == (False, True, None)
    assert (renewed["holder"], renewed["reason"], renewed["token"]) == ("ann", "why", token)
    assert 90 < renewed["expires_in"] <= 100


def test_lock_that_was_released_is_not_held_on_to(lock: Callable[..., dict[str, Any]]) -> None:
    token = lock(holder="ann")["token"]
    lock(state="released", token=token)

    late = lock(holder="ann", token=token)

    assert "was released already" in late["msg"]
    assert lock(holder="bob")["changed"]


def test_lock_taken_over_says_from_whom(lock: Callable[..., dict[str, Any]]) -> None:
    lock(holder="ann", reason="charges")
    lock(holder="bob", state="stolen", reason="ann is asleep")

    refused = lock(holder="eve")

    assert refused["lock"]["taken_from"]["holder"] == "ann"
    assert refused["lock"]["reason"] == "ann is asleep"


@pytest.mark.parametrize("state", ["held", "stolen", "released"])
def test_lock_in_check_mode_predicts_what_happens_then(
    run_module: RunModule, backend: Backend, state: str
) -> None:
    token = run_module("environment_lock", {**backend, "environment": "a", "holder": "x"})["token"]
    args = {**backend, "environment": "a" if state != "held" else "b", "holder": "y", "reason": "z"}
    args.update(state=state, **({"token": token} if state == "released" else {}))

    results = [
        run_module("environment_lock", args, check=check, diff=True) for check in (True, False)
    ]

    for result in results:
        assert result["diff"] == {"before": result["before"], "after": result["after"]}
        for key in ("invocation", "elapsed", "diff", "expires_in", "since", "expires"):
            del result[key]
        for lease in (result["before"], result["after"]):
            for key in ("expires_in", "since", "expires"):
                del lease[key]
            (lease["taken_from"] or {}).pop("at", None)
    assert results[0] == results[1]


def test_lock_in_check_mode_leaves_no_folder_behind(run_module: RunModule, tmp_path: Path) -> None:
    args = {"path": str(tmp_path / "locks"), "environment": "prod", "holder": "ann"}

    run_module("environment_lock", args, check=True)

    assert not (tmp_path / "locks").exists()


@pytest.mark.parametrize("environment", ["../../etc", "a/b", ".", "prod eu 1", "ünïcode", "%2e"])
def test_lock_takes_any_name_and_keeps_names_apart(
    run_module: RunModule, backend: Backend, tmp_path: Path, environment: str
) -> None:
    args = {**backend, "holder": "ann"}

    assert run_module("environment_lock", {**args, "environment": environment})["changed"]
    assert run_module("environment_lock", {**args, "environment": environment})["failed"]
    assert run_module("environment_lock", {**args, "environment": environment + "2"})["changed"]
    assert {path.name for path in tmp_path.iterdir()} <= {"locks"}


def test_lock_in_postgres_needs_no_right_to_create_once_its_table_is_there(
    run_module: RunModule, postgres_server: PostgresServer
) -> None:
    login = {name: value for name, value in postgres_server.login.items() if name != "bin_dir"}
    args = {"backend": "postgres", "schema": "sre locks", "environment": "prod", "holder": "ann"}
    operator = {**args, **login, "login_user": "operator", "login_password": "s3cret"}
    with contextlib.closing(postgres_server.connect()) as connection:
        connection.execute("CREATE ROLE operator LOGIN PASSWORD 's3cret'")
        try:
            refused = run_module("environment_lock", operator)
            token = run_module("environment_lock", {**args, **login})["token"]
            run_module("environment_lock", {**args, **login, "state": "released", "token": token})
            connection.execute('GRANT USAGE ON SCHEMA "sre locks" TO operator')
            connection.execute(
                'GRANT SELECT, INSERT, UPDATE ON "sre locks".rollback_environment_lock TO operator'
            )
            taken = run_module("environment_lock", operator)
        finally:
            connection.execute('DROP SCHEMA IF EXISTS "sre locks" CASCADE')
            connection.execute("DROP ROLE operator")

    assert "permission denied" in refused["msg"]
    assert taken["token"] == token + 1
    assert taken["undo"]["args"]["schema"] == "sre locks"


def test_lock_in_postgres_waits_for_nobody_for_ever(
    run_module: RunModule, postgres_server: PostgresServer
) -> None:
    login = {name: value for name, value in postgres_server.login.items() if name != "bin_dir"}
    args = {**login, "backend": "postgres", "environment": "prod", "holder": "ann"}
    with contextlib.closing(postgres_server.connect()) as stuck, stuck.transaction():
        stuck.execute("SELECT pg_advisory_xact_lock(hashtext('rollback_environment_lock'))")

        result = run_module("environment_lock", args)

    assert "lock timeout" in result["msg"]


def test_lock_in_redis_is_kept_behind_sentinels_and_tls(
    run_module: RunModule, valkey_server: RedisServer, tmp_path: Path
) -> None:
    args = {"backend": "redis", "environment": "prod", "holder": "ann"}
    certificates = make_certificates(tmp_path)
    with tls_front(certificates, valkey_server.port) as port:
        secure = {**args, "tls": True, "login_host": "127.0.0.1", "login_port": port}
        untrusted = run_module("environment_lock", secure)
        taken = run_module("environment_lock", {**secure, "ca_certs": str(certificates.authority)})
    port, sentinel = start_sentinel(tmp_path, valkey_server.port)
    watched = {"sentinels": [f"127.0.0.1:{port}"], "sentinel_service": "cache"}
    refused = run_module("environment_lock", {**args, **watched})
    stop(sentinel, signal.SIGTERM)

    assert "certificate" in untrusted["msg"]
    assert taken["changed"]
    assert "held by ann" in refused["msg"]


def test_lock_in_a_redis_that_may_evict_it_warns(run_module: RunModule, tmp_path: Path) -> None:
    port = free_port()
    options = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]
    process = start_valkey(tmp_path, port, *options)
    args = {"backend": "redis", "login_port": port, "environment": "prod", "holder": "ann"}

    result = run_module("environment_lock", args)
    stop(process, signal.SIGTERM)

    assert "may evict the lock" in str(result["warnings"])


def test_lock_in_a_replica_of_redis_is_refused(
    run_module: RunModule, valkey_server: RedisServer, tmp_path: Path
) -> None:
    with contextlib.closing(valkey_server.client()) as client:
        client.config_set("repl-diskless-sync-delay", 0)
    port = free_port()
    replica = start_valkey(tmp_path, port, "--replicaof", "127.0.0.1", str(valkey_server.port))
    server = RedisServer(port)
    wait_until(lambda: server.client().info("replication")["master_link_status"] == "up")

    result = run_module(
        "environment_lock", {"backend": "redis", **server.login, "environment": "a", "holder": "b"}
    )
    stop(replica, signal.SIGTERM)

    assert "read only replica" in result["msg"]


def test_lock_key_that_holds_something_else_is_refused_and_left_alone(
    run_module: RunModule, valkey_server: RedisServer
) -> None:
    args = {"backend": "redis", **valkey_server.login, "environment": "a", "holder": "b"}
    with contextlib.closing(valkey_server.client()) as client:
        client.set("rollback:lock:a", "x")
        wrong_type = run_module("environment_lock", args)
        client.delete("rollback:lock:a")
        client.hset("rollback:lock:a", "token", "x")
        no_lease = run_module("environment_lock", args)
        assert client.hgetall("rollback:lock:a") == {b"token": b"x"}

    assert "WRONGTYPE" in wrong_type["msg"]
    assert "does not hold a lease" in no_lease["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"ttl": 0}, "ttl must be more than 0 s", id="no time"),
        pytest.param({"ttl": 1e9}, "at most 2678400 s", id="too long"),
        pytest.param({"holder": " "}, "holder must say who it is", id="nobody"),
        pytest.param({"environment": ""}, "environment must be a name", id="no environment"),
        pytest.param({"state": "released"}, "missing: token", id="release without a token"),
        pytest.param(
            {"backend": "redis", "sentinels": ["127.0.0.1:1"]}, "sentinel_service", id="sentinel"
        ),
    ],
)
def test_lock_bad_input_gets_one_clear_message(
    run_module: RunModule, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    args = {"path": str(tmp_path), "environment": "prod", "holder": "ann", **options}

    result = run_module("environment_lock", {**args, "login_password": "s3cret"})

    assert result["failed"]
    assert words in result["msg"]
    assert "s3cret" not in json.dumps(result)
    assert list(tmp_path.iterdir()) == []
