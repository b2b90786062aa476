"""compose_evidence: what containers were like and said last is told when they are gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import MakeEnvironment
from tests.compose.stack import Stack
from tests.module_runner import RunModule

pytestmark = pytest.mark.compose


def wish(stack: Stack, **more: Any) -> dict[str, Any]:
    return {"project_src": str(stack.folder), "dest": str(stack.host / "evidence"), **more}


def with_service(stack: Stack, name: str, about: dict[str, Any]) -> None:
    """The user changes a service and makes it anew."""
    stack.change(name, about)
    stack.compose("up", "--detach", "--no-deps", name)


def test_state_logs_and_processes_are_kept_once_and_readable_by_their_owner_alone(
    stack: Stack, run_module: RunModule
) -> None:
    args, dest = wish(stack), stack.host / "evidence"
    assert run_module("compose_evidence", args, check=True)["changed"]
    assert not dest.exists()

    kept = run_module("compose_evidence", args)

    assert kept["changed"]
    assert kept["missing"] == []
    assert sorted(kept["files"]) == sorted(path.name for path in dest.iterdir())
    assert all((dest / name).stat().st_mode & 0o777 == 0o600 for name in kept["files"])
    logs = [name for name in kept["files"] if name.endswith(".log")]
    assert len(logs) == 6
    assert any("shop 1.0.0 listens" in (dest / name).read_text() for name in logs)
    state = json.loads((dest / "containers.json").read_text())
    assert {each["service"] for each in state} == {"proxy", "web", "api", "worker", "store"}
    web = next(each for each in state if each["service"] == "web")
    head, first, *_ = (dest / f"{web['name']}.processes.txt").read_text().splitlines()
    assert head.split() == ["PID", "PPID", "USER", "RSS", "%CPU", "TIME", "ELAPSED", "COMMAND"]
    assert first.split()[0] == str(web["pid"])
    assert int(first.split()[3]) > 1000

    (dest / logs[0]).write_text("the first attempt")
    again = run_module("compose_evidence", args)
    assert not again["changed"]
    assert (dest / logs[0]).read_text() == "the first attempt"


def test_only_the_named_services_are_asked(stack: Stack, run_module: RunModule) -> None:
    kept = run_module("compose_evidence", wish(stack, services=["api"]))

    names = {name.removesuffix(".log").removesuffix(".processes.txt") for name in kept["files"]}
    assert names - {"containers.json"} == {f"{stack.project}-api-1"}


def test_limit_of_a_container_is_told_beside_the_memory_that_it_has(
    stack: Stack, run_module: RunModule
) -> None:
    with_service(stack, "worker", {"mem_limit": "64m"})

    run_module("compose_evidence", wish(stack, services=["worker"]))

    (worker,) = json.loads((stack.host / "evidence" / "containers.json").read_text())
    assert worker["memory_limit"] == 64 << 20


def test_container_whose_log_goes_elsewhere_is_no_reason_to_keep_nothing(
    stack: Stack, run_module: RunModule
) -> None:
    with_service(stack, "worker", {"logging": {"driver": "none"}})

    kept = run_module("compose_evidence", wish(stack, services=["worker"]))

    worker = f"{stack.project}-worker-1"
    assert kept["files"] == ["containers.json", f"{worker}.processes.txt"]
    (missing,) = kept["missing"]
    assert missing["file"] == f"{worker}.log"
    assert "does not support reading" in missing["error"]


def test_container_whose_log_goes_elsewhere_is_no_reason_to_help_nobody(
    stack: Stack, environment: MakeEnvironment
) -> None:
    with_service(stack, "worker", {"logging": {"driver": "none"}})
    shop = environment(stack, release_services=["web"])
    stack.deploy(web="2.0.0")
    stack.wait_for(500)

    done = shop.run("application", "--to", "1.0.0", "--reason", "orders fail", "--yes")

    assert done.code == 0, done.output
    assert stack.images("web") == {"shop/web:1.0.0"}
    said = " ".join(done.output.split())
    assert f"{stack.project}-worker-1.log on compose1 could not be kept" in said


@pytest.mark.parametrize(
    ("hangs", "files"), [("logs", {"containers.json", "processes.txt"}), ("ps", set())]
)
def test_engine_that_hangs_is_waited_for_no_longer_than_was_said(
    stack: Stack, run_module: RunModule, tmp_path: Path, hangs: str, files: set[str]
) -> None:
    cli = tmp_path / "docker"
    cli.write_text(
        f'#!/bin/sh\nif [ "$1" = {hangs} ]; then trap "" TERM; exec sleep 600; fi\n'
        'exec docker "$@"\n'
    )
    cli.chmod(0o755)

    done = run_module("compose_evidence", wish(stack, docker_cli=str(cli), timeout=3))

    dest = stack.host / "evidence"
    assert {path.name.split(".", 1)[1] for path in dest.glob("*-*")} == files - {"containers.json"}
    assert (dest / "containers.json").exists() == bool(files)
    words = json.dumps(done.get("missing") or done["msg"])
    assert "did not end within" in words
