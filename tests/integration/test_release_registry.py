"""release_registry: what last known good means, and what it survives."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule, start_module

pytestmark = pytest.mark.integration


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "releases" / "good-releases.jsonl"


def mark(path: Path, version: str, **more: Any) -> dict[str, Any]:
    return {"path": str(path), "state": "good", "version": version, "marked_by": "ada", **more}


def test_last_marked_release_is_the_last_known_good_one(run_module: RunModule, path: Path) -> None:
    assert run_module("release_registry", {"path": str(path)})["last_good"] == ""
    assert run_module("release_registry", mark(path, "1.0.0"))["changed"]
    result = run_module("release_registry", mark(path, "1.1.0", details={"backup": "b1", "x": ""}))
    assert result["last_good"] == "1.1.0"
    assert result["releases"][-1]["backup"] == "b1"
    assert "x" not in result["releases"][-1]
    assert [each["version"] for each in result["releases"]] == ["1.0.0", "1.1.0"]


def test_marking_the_last_good_one_again_changes_nothing(run_module: RunModule, path: Path) -> None:
    run_module("release_registry", mark(path, "1.0.0", images={"web": {"id": "sha256:1"}}))
    before = path.read_bytes()
    again = mark(path, "1.0.0", images={"web": {"id": "sha256:1"}})
    assert not run_module("release_registry", again)["changed"]
    assert path.read_bytes() == before
    other = mark(path, "1.0.0", images={"web": {"id": "sha256:2"}})
    assert run_module("release_registry", other)["changed"]


def test_bad_release_is_none_until_it_is_marked_good_again(
    run_module: RunModule, path: Path
) -> None:
    run_module("release_registry", mark(path, "1.0.0"))
    run_module("release_registry", mark(path, "1.1.0"))
    bad = {**mark(path, "1.1.0"), "state": "bad", "reason": "loses orders"}
    marked = run_module("release_registry", bad)
    assert (marked["last_good"], marked["bad"]) == ("1.0.0", {"1.1.0": "loses orders"})
    assert not run_module("release_registry", bad)["changed"]
    good = run_module("release_registry", mark(path, "1.1.0"))
    assert (good["last_good"], good["bad"]) == ("1.1.0", {})


@pytest.mark.parametrize("check", [False, True])
def test_bad_release_stays_so_where_nobody_means_to_take_that_back(
    run_module: RunModule, path: Path, *, check: bool
) -> None:
    run_module("release_registry", mark(path, "1.0.0"))
    run_module("release_registry", {**mark(path, "1.1.0"), "state": "bad", "reason": "is slow"})
    before = path.read_bytes()

    result = run_module("release_registry", mark(path, "1.1.0", over_bad=False), check=check)
    other = run_module("release_registry", mark(path, "1.2.0", over_bad=False), check=check)

    assert not result["changed"]
    assert (result["last_good"], result["stays_bad"]) == ("1.0.0", "is slow")
    assert "1.1.0 was marked bad (is slow) and stays so" in str(result["warnings"])
    assert other["changed"]
    assert other["stays_bad"] == ""
    assert path.read_bytes().startswith(before)


def test_check_mode_says_what_it_would_do(run_module: RunModule, path: Path) -> None:
    assert run_module("release_registry", mark(path, "1.0.0"), check=True)["changed"]
    assert not path.exists()
    run_module("release_registry", mark(path, "1.0.0"))
    assert not run_module("release_registry", mark(path, "1.0.0"), check=True)["changed"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param(b'{"version": "2.0', "not JSON", id="torn by a crash"),
        pytest.param(b"\xff\xfe\x00", "not JSON", id="no text"),
        pytest.param(b"[1]", "no object with a version", id="no object"),
        pytest.param(b'{"version": 3}', "no object with a version", id="version is a number"),
        pytest.param(b'{"version": "3", "images": []}', "images are no object", id="images"),
    ],
)
def test_damaged_line_is_named_and_the_others_count(
    run_module: RunModule, path: Path, line: bytes, problem: str
) -> None:
    run_module("release_registry", mark(path, "1.0.0"))
    path.write_bytes(path.read_bytes() + line)
    result = run_module("release_registry", {"path": str(path)})
    assert result["last_good"] == "1.0.0"
    assert [each["line"] for each in result["damaged"]] == [2]
    assert problem in result["damaged"][0]["problem"]

    run_module("release_registry", mark(path, "1.1.0"))
    lines = path.read_bytes().split(b"\n")
    assert lines[1] == line
    assert json.loads(lines[2])["version"] == "1.1.0"


def test_two_at_once_lose_nothing(path: Path) -> None:
    versions = [f"1.{number}.0" for number in range(6)]
    processes = [start_module("release_registry", mark(path, version)) for version in versions]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda each: json.loads(each.communicate()[0]), processes))
    assert all(answer["changed"] for answer in answers), answers
    found = [json.loads(line)["version"] for line in path.read_text().splitlines()]
    assert sorted(found) == versions


def test_registry_that_cannot_be_written_is_as_it_was(run_module: RunModule, path: Path) -> None:
    path.parent.parent.joinpath("releases").write_text("a file in its place")
    result = run_module("release_registry", mark(path, "1.0.0"))
    assert result["failed"]
    assert "good releases" in result["msg"]
