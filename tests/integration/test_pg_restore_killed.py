"""pg_restore_verified killed at any moment, or its server: the live name answers, old or new.

Looked at from outside, it holds wholly the old or wholly the new content; the next run completes.
"""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from ansible.module_utils.testing import patch_module_args

from tests.module_runner import RunModule
from tests.pg_restoring import debian_postgres
from tests.pg_two_contents import NewShop, Two, two_on
from tests.real_servers import PostgresServer, new_postgres, stop

pytestmark = pytest.mark.integration

_KILLS = 200
_SEED = 20261122


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
    _kill_at_moments(two_on(new_postgres_server, new_shop), run_module, staged=staged, kills=3)


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
    two = two_on(mortal.server, new_shop, prefix="mortal")
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
