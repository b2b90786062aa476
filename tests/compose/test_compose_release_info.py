"""compose_release_info: which image it goes back to, why, and what it refuses."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.compose.images import build, docker, dockerfile
from tests.compose.stack import Stack
from tests.module_runner import RunModule

pytestmark = pytest.mark.compose

Images = Callable[..., dict[str, dict[str, str]]]


def question(stack: Stack, **more: Any) -> dict[str, Any]:
    return {
        "project_src": str(stack.folder),
        "registry": str(stack.host / "good-releases.jsonl"),
        **more,
    }


def mark(stack: Stack, run_module: RunModule, state: str, version: str, **more: Any) -> None:
    args = {"path": question(stack)["registry"], "state": state, "version": version, **more}
    assert run_module("release_registry", args)["changed"]


def test_last_good_release_is_the_target(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    mark(stack, run_module, "good", "shop-7", images=images(web="1.0.0", api="1.0.0"))
    stack.deploy(web="2.0.0")
    result = run_module("compose_release_info", question(stack))
    assert (result["current"], result["wanted"]) == ("2.0.0", "shop-7")
    assert result["changes"] == ["web"]
    assert result["targets"]["web"]["source"] == "marked good"
    assert result["targets"]["web"]["id"] == images(web="1.0.0")["web"]["id"]
    assert set(result["running"]) == {"proxy", "web", "api", "worker", "store"}

    stack.deploy(web="1.0.0")
    healthy = run_module("compose_release_info", question(stack))
    assert healthy["changes"] == []
    assert healthy["current"] == healthy["wanted"] == "shop-7"


def test_release_that_was_marked_bad_is_no_target(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    mark(stack, run_module, "good", "1.0.0", images=images(web="1.0.0"))
    mark(stack, run_module, "good", "1.1.0", images=images(web="1.1.0"))
    mark(stack, run_module, "bad", "1.1.0", reason="loses orders")
    stack.deploy(web="2.0.0")
    assert run_module("compose_release_info", question(stack))["wanted"] == "1.0.0"
    refused = run_module("compose_release_info", question(stack, version="1.1.0"))
    assert "release 1.1.0 was marked bad: loses orders. No release was changed." in refused["msg"]


def test_without_a_good_release_it_is_the_image_that_arrived_before(
    stack: Stack, run_module: RunModule
) -> None:
    """What ran before is not known then, and the result says so."""
    fresh = build("shop/web:9.0.0", {"version": "9.0.0", "fails": ["*"]})
    stack.deploy(web="9.0.0")
    result = run_module("compose_release_info", question(stack, services=["web"]))
    assert result["targets"]["web"]["source"] == "arrived before"
    assert result["targets"]["web"]["id"] != fresh
    stack.deploy(web="1.0.0")
    docker("rmi", "shop/web:9.0.0")


def test_without_a_good_release_it_is_the_image_of_a_container_that_was_left(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    """As of a deployment that was broken off; it knows better than the order of arrival."""
    stack.deploy(web="1.0.0")
    mine = {"project": stack.project, "service": "web"}
    labels = [f"--label=com.docker.compose.{name}={value}" for name, value in mine.items()]
    left = docker("create", *labels, "shop/web:4.0.0").strip()
    try:
        result = run_module("compose_release_info", question(stack, services=["web"]))
    finally:
        docker("rm", "--force", left)

    assert result["targets"]["web"]["source"] == "ran before"
    assert result["targets"]["web"]["id"] == images(web="4.0.0")["web"]["id"]
    assert (result["current"], result["wanted"]) == ("1.0.0", "4.0.0")


def test_version_that_nobody_has_is_refused_with_what_there_is(
    stack: Stack, run_module: RunModule
) -> None:
    result = run_module("compose_release_info", question(stack, services=["web"], version="7.7.7"))
    assert result["failed"]
    assert "image shop/web:7.7.7 for service web is not on this host" in result["msg"]
    assert "shop/web:4.0.0" in result["msg"]
    assert "choose with --to VERSION" in result["msg"]


def test_image_for_another_machine_is_refused(stack: Stack, run_module: RunModule) -> None:
    load_foreign("shop/web:foreign", architecture="arm64")
    try:
        args = question(stack, services=["web"], version="foreign")
        result = run_module("compose_release_info", args)
        assert "is made for arm64, and this host runs amd64" in result["msg"]
    finally:
        docker("rmi", "shop/web:foreign")


def load_foreign(reference: str, *, architecture: str) -> None:
    """An image without content that says it is made for this kind of machine."""
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    layer = empty.getvalue()
    diff = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff]},
    }  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in {
            "layer.tar": layer,
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    docker("load", "--quiet", given=archive.getvalue())


def test_image_that_is_gone_is_built_from_its_git_tag(stack: Stack, run_module: RunModule) -> None:
    source = stack.folder / "web"
    source.mkdir()
    (source / "Dockerfile").write_text(dockerfile())
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(stack.folder)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"], ["tag", "v0.9.0"]):
        subprocess.run([*git, *words], check=True)
    text = stack.compose_file.replace(
        "image: shop/web:${WEB:-1.0.0}", "image: shop/web:${WEB:-1.0.0}\n    build: ./web"
    )
    (stack.folder / "docker-compose.yml").write_text(text)
    result = run_module("compose_release_info", question(stack, services=["web"], version="0.9.0"))
    target = result["targets"]["web"]
    assert (target["how"], target["build"]["tag"], target["build"]["repository"]) == (
        "build", "v0.9.0", str(stack.folder),
    )  # fmt: skip
    assert result["git_revision"] == target["build"]["commit"]


def test_service_that_is_none_is_named(stack: Stack, run_module: RunModule) -> None:
    result = run_module("compose_release_info", question(stack, services=["wbe"]))
    assert "the Compose file has no service wbe, only api, proxy" in result["msg"]
