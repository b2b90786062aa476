"""pg_salvage on a real server: killed in the middle of a merge."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.salvage_twins import (  # noqa: F401 - fixtures
    ORDERS_SINCE,
    SHOP,
    MakeTwins,
    Twins,
    make_twins,
    merge_args,
    shop,
)
from tests.module_runner import RunModule, start_module
from tests.real_servers import PostgresServer, new_postgres, stop

pytestmark = pytest.mark.integration


def wholly_merged_or_not(shop: Twins) -> bool:
    """Whether all merged rows are there, rather than none; fails for anything in between."""
    (counts,) = shop.rows(
        "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders),"
        " (SELECT count(*) FROM order_lines)"
    )
    assert counts in {(20, 100, 100), (21, 103, 103)}
    return counts == (21, 103, 103)


@pytest.mark.attack
def test_pg_salvage_merge_killed_at_any_moment_is_all_or_nothing_and_can_be_taken_back(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    moments = random.Random(3)  # noqa: S311
    process = start_module("pg_salvage", merge_args(shop, tmp_path))
    started = time.monotonic()
    out, _ = process.communicate()
    usual = time.monotonic() - started
    done = json.loads(out)
    outcomes = set()
    for _attempt in range(200):
        run_module("pg_salvage", {**shop.server.login, **done["undo"]["args"]})
        assert not wholly_merged_or_not(shop)
        process = start_module("pg_salvage", merge_args(shop, tmp_path))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(usual * moments.uniform(0.3, 1.1))
        process.kill()
        process.communicate()
        outcomes.add(wholly_merged_or_not(shop))
        again = run_module("pg_salvage", merge_args(shop, tmp_path))
        assert not again.get("failed")
        assert wholly_merged_or_not(shop)
        done = again if again["changed"] else newest_merge(shop, tmp_path)

    assert outcomes == {True, False}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def newest_merge(shop: Twins, dest: Path) -> dict[str, Any]:
    """The result of a merge whose run was killed after it committed: its folder is there."""
    path = max(path for path in dest.iterdir() if not path.name.startswith("."))
    undo = {"state": "unmerged", "merge": str(path)}
    return {"undo": {"args": {**undo, "database": shop.database, "reference": shop.reference}}}


@pytest.mark.attack
def test_pg_salvage_merge_survives_a_server_that_is_killed_meanwhile(
    world_readable_tmp: Path, run_module: RunModule, tmp_path: Path
) -> None:
    server = new_postgres(world_readable_tmp, "salvage-killed")
    running = server.start()
    moments = random.Random(5)  # noqa: S311
    try:
        with server.connect() as connection:
            connection.execute("CREATE DATABASE restored")
        shop = Twins(server, "written", "restored")
        shop.write_reference(SHOP)
        with server.connect() as connection:
            connection.execute("CREATE DATABASE written TEMPLATE restored")
        shop.write(ORDERS_SINCE)
        for _attempt in range(20):
            process = start_module("pg_salvage", merge_args(shop, tmp_path))
            time.sleep(moments.uniform(0.2, 1.2))
            stop(running, signal.SIGKILL)
            out, _ = process.communicate()
            running = restarted(server)
            result = json.loads(out)
            if not result.get("failed"):
                assert wholly_merged_or_not(shop)
            again = run_module("pg_salvage", merge_args(shop, tmp_path))
            assert not again.get("failed")
            assert wholly_merged_or_not(shop)
            done = again if again["changed"] else newest_merge(shop, tmp_path)
            undone = run_module("pg_salvage", {**server.login, **done["undo"]["args"]})
            assert not undone.get("failed")
            assert not wholly_merged_or_not(shop)
    finally:
        stop(running)


def restarted(server: PostgresServer) -> subprocess.Popen[bytes]:
    """The server again; the backends of a killed one take a moment to be gone."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return server.start()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
