"""rollback_attempt: a rollback that did not finish is found by the next one."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule

pytestmark = pytest.mark.integration

_ATTEMPT = {"restore_id": "2026-03-04T02-00-00Z-full-prod-7c65", "level": "full"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restore-points" / "unfinished.json"


def _asked(path: Path, state: str = "read", **more: Any) -> dict[str, Any]:
    return {"path": str(path), "state": state, **more}


def _begun(path: Path, **attempt: str) -> dict[str, Any]:
    return _asked(path, "begun", attempt={**_ATTEMPT, **attempt})


def test_attempt_is_known_until_it_has_finished(run_module: RunModule, path: Path) -> None:
    def told(asked: dict[str, Any]) -> tuple[bool, dict[str, str]]:
        result = run_module("rollback_attempt", asked)
        return result["changed"], result["attempt"]

    assert told(_asked(path)) == (False, {})
    assert told(_begun(path)) == (True, _ATTEMPT)
    assert told(_asked(path)) == (False, _ATTEMPT)
    assert told(_asked(path, "finished")) == (True, {})
    assert told(_asked(path)) == (False, {})


def test_the_same_again_changes_nothing(run_module: RunModule, path: Path) -> None:
    run_module("rollback_attempt", _begun(path))
    before = path.stat()
    assert not run_module("rollback_attempt", _begun(path))["changed"]
    assert path.stat() == before
    assert run_module("rollback_attempt", _begun(path, level="application"))["changed"]
    run_module("rollback_attempt", _asked(path, "finished"))
    assert not run_module("rollback_attempt", _asked(path, "finished"))["changed"]


def test_nobody_but_the_owner_may_read_it(run_module: RunModule, path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    run_module("rollback_attempt", _begun(path))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_check_mode_says_what_it_would_do(run_module: RunModule, path: Path) -> None:
    assert run_module("rollback_attempt", _begun(path), check=True)["changed"]
    assert not path.parent.exists()
    run_module("rollback_attempt", _begun(path))
    assert run_module("rollback_attempt", _asked(path, "finished"), check=True)["changed"]
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b'{"restore_id": "2026', b"[1]", b"\xff\xfe{}"])
def test_file_that_cannot_be_understood_is_named_and_kept(
    run_module: RunModule, path: Path, content: bytes
) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    for asked in (_asked(path), _begun(path)):
        result = run_module("rollback_attempt", asked)
        assert str(path) in result["msg"]
        assert result["failed"]
        assert "Nothing was changed" in result["msg"]
        assert path.read_bytes() == content


def test_folder_that_cannot_be_made_is_said_before_anything_changes(
    run_module: RunModule, tmp_path: Path
) -> None:
    (tmp_path / "restore-points").write_text("a file")
    result = run_module("rollback_attempt", _begun(tmp_path / "restore-points" / "unfinished.json"))
    assert result["failed"]
    assert "restore-points" in result["msg"]
    assert (tmp_path / "restore-points").read_text() == "a file"
