"""How far a restore is, from the files that Ansible and the restore leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule

_PROGRESS = {"phase": "restore", "percent": 41.5, "bytes": 220, "total_bytes": 524, "remaining": 9}


@pytest.mark.parametrize(
    ("job", "finished"),
    [
        pytest.param('{"started": 1, "finished": 0, "ansible_job_id": "j1"}', False, id="runs"),
        pytest.param('{"changed": true, "staged": "x"}', True, id="ended well"),
        pytest.param('{"failed": true, "msg": "no room"}', True, id="ended badly"),
        pytest.param('{"started": 1, "finished": 1, "failed": true}', True, id="killed"),
        pytest.param('{"changed": tr', False, id="being written"),
        pytest.param("", False, id="empty"),
    ],
)
def test_restore_has_ended_when_its_job_says_what_came_of_it(
    job: str, finished: bool, tmp_path: Path, run_module: RunModule
) -> None:
    (tmp_path / "job").write_text(job)
    (tmp_path / "progress").write_text(json.dumps(_PROGRESS))

    result = _look(tmp_path, run_module)

    assert result["finished"] is finished
    assert (result["percent"], result["bytes_done"], result["bytes_total"]) == (41.5, 220, 524)


def test_restore_that_said_nothing_yet_is_at_its_beginning(
    tmp_path: Path, run_module: RunModule
) -> None:
    (tmp_path / "job").write_text('{"started": 1, "finished": 0}')

    assert _look(tmp_path, run_module)["percent"] == 0


def test_job_that_is_not_known_is_an_error_in_words(tmp_path: Path, run_module: RunModule) -> None:
    result = _look(tmp_path, run_module)

    assert result["failed"]
    assert "The live database was not touched" in result["msg"]


def _look(folder: Path, run_module: RunModule) -> dict[str, Any]:
    args = {"job": str(folder / "job"), "path": str(folder / "progress")}
    return run_module("restore_progress", args)
