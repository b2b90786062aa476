"""compose_restore_point: what runs can be come back to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compose.images import docker
from tests.compose.stack import Stack
from tests.module_runner import RunModule

pytestmark = pytest.mark.compose

Images = Callable[..., dict[str, dict[str, str]]]


def wish(stack: Stack, running: dict[str, dict[str, str]], **more: Any) -> dict[str, Any]:
    return {
        "project_src": str(stack.folder),
        "dest": str(stack.host / "restore-point"),
        "version": "1.0.0",
        "images": running,
        "tagged": list(running),
        "tag": "before-2026-11-27T04-00-00Z-Shop",
        **more,
    }


def test_what_runs_is_kept_once_and_readable_by_its_owner_alone(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    running = images(web="1.0.0", api="1.0.0")
    args = wish(stack, running)
    assert run_module("compose_restore_point", args, check=True)["changed"]
    assert not Path(args["dest"]).exists()

    kept = run_module("compose_restore_point", args)

    assert kept["changed"]
    dest = Path(args["dest"])
    assert json.loads((dest / "release.json").read_text()) == {
        "version": "1.0.0", "images": running,
    }  # fmt: skip
    assert kept["files"] == ["release.json"]
    assert (dest / "release.json").stat().st_mode & 0o777 == 0o600
    assert kept["tags"]["web"] == "shop/web:before-2026-11-27t04-00-00z-shop"
    for service, tag in kept["tags"].items():
        assert json.loads(docker("image", "inspect", tag))[0]["Id"] == running[service]["id"]

    later = wish(stack, images(web="2.0.0", api="2.0.0"), version="2.0.0")
    again = run_module("compose_restore_point", later)
    assert not again["changed"]
    assert json.loads((dest / "release.json").read_text())["images"] == running
    web = json.loads(docker("image", "inspect", kept["tags"]["web"]))[0]
    assert web["Id"] == running["web"]["id"]
    docker("rmi", "--no-prune", *kept["tags"].values())


def test_service_that_runs_nothing_needs_no_tag(stack: Stack, run_module: RunModule) -> None:
    kept = run_module("compose_restore_point", wish(stack, {}, tagged=["web"]))
    assert kept["changed"]
    assert kept["tags"] == {}
