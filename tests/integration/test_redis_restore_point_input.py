"""Restore points that cannot be written, or cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule
from tests.real_servers import RedisServer

pytestmark = pytest.mark.integration


def _fill(server: RedisServer, n: int = 1000) -> None:
    server.client().mset({f"page:{number}": "x" * 40 for number in range(n)})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"restore_point_max_bytes": 5000}, "needs about", id="too large"),
        pytest.param({"restore_point": "/no/folder/x"}, "No such file", id="no folder"),
        pytest.param({"restore_point": "/tmp/" + "x" * 300}, "cannot be written", id="name"),
    ],
)
def test_a_restore_point_that_cannot_be_is_refused_before_anything_goes(
    valkey_server: RedisServer,
    run_module: RunModule,
    tmp_path: Path,
    options: dict[str, Any],
    words: str,
) -> None:
    _fill(valkey_server)
    given = {"patterns": ["page:*"], "restore_point": str(tmp_path / "x"), **options}

    result = run_module("redis_flush", {**valkey_server.login, **given})

    assert words in result["msg"]
    assert "Nothing was changed" in result["msg"]
    assert valkey_server.client().dbsize() == 1000


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda lines: lines[1:], "is not a restore point", id="no header"),
        pytest.param(lambda lines: [lines[0], b"{}\n", *lines[2:]], "Line 2 of", id="line"),
        pytest.param(lambda _lines: [], "is not a restore point", id="empty"),
    ],
)
def test_a_damaged_restore_point_restores_nothing(
    valkey_server: RedisServer, run_module: RunModule, tmp_path: Path, damage: Any, words: str
) -> None:
    _fill(valkey_server, 5)
    path = tmp_path / "cache.jsonl"
    options = {**valkey_server.login, "patterns": ["page:*"], "restore_point": str(path)}
    flushed = run_module("redis_flush", options)
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))

    result = run_module("redis_flush", {**valkey_server.login, **flushed["undo"]["args"]})

    assert words in result["msg"]
    assert valkey_server.client().dbsize() == 0


def test_a_value_that_the_server_refuses_is_a_failure(
    valkey_server: RedisServer, run_module: RunModule, tmp_path: Path
) -> None:
    valkey_server.client().mset({"page:1": "1", "page:2": "2"})
    path = tmp_path / "cache.jsonl"
    options = {**valkey_server.login, "patterns": ["page:*"], "restore_point": str(path)}
    flushed = run_module("redis_flush", options)
    header, first, second = path.read_text().splitlines()
    entry = json.loads(first)
    entry["dump"] = json.loads(second)["dump"][:-4] + "AAAA"
    path.write_text("\n".join([header, json.dumps(entry), second, ""]))

    result = run_module("redis_flush", {**valkey_server.login, **flushed["undo"]["args"]})

    assert "1 of 2 keys could not be restored" in result["msg"]
    assert valkey_server.client().dbsize() == 1
