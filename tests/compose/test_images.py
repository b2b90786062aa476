"""Images that are not on the host: pulled, or refused with a reason."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.conftest import MakeEnvironment, MakeStack
from tests.compose.environment import Environment, web_is_healthy
from tests.compose.images import build, docker
from tests.compose.stack import COMPOSE_FILE, Stack, free_port
from tests.real_servers import RedisServer

pytestmark = pytest.mark.compose


@pytest.fixture
def registry(engine: None, tmp_path: Path) -> Iterator[str]:  # noqa: ARG001
    """Host and port of an image registry on loopback, to which the Engine speaks plain HTTP."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is missing: run tests/compose/install.sh")
    address = f"127.0.0.1:{free_port()}"
    configuration = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
    }
    path = tmp_path / "registry.yml"
    path.write_text(json.dumps(configuration))
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(path)], stdout=log, stderr=log)
    try:
        _wait_for(address, process)
        yield address
    finally:
        process.kill()
        process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(address, timeout=1)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/v2/")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            return
        time.sleep(0.1)
    pytest.fail("the registry does not answer")


@pytest.fixture
def pulled(make_stack: MakeStack, registry: str) -> Stack:
    """Release 2.0.0 is bad, and of release 1.0.5 this host is to have no image any more."""
    good, bad = (f"{registry}/shop/web:{version}" for version in ("1.0.5", "2.0.0"))
    build(good, {"version": "1.0.5"})
    docker("push", "--quiet", good)
    docker("tag", "shop/web:2.0.0", bad)
    return make_stack(
        f"pulled{registry.rpartition(':')[2]}",
        compose_file=COMPOSE_FILE.replace("shop/web:", f"{registry}/shop/web:"),
        variables={"WEB": "1.0.5"},
    )


def _lose_the_good_image(shop: Environment) -> None:
    (good,) = shop.stack.images("web")
    marked = shop.run("mark-good", "--yes")
    assert marked.code == 0, marked.output
    shop.stack.deploy(web="2.0.0")
    shop.stack.wait_for(500)
    docker("rmi", good)


def test_image_that_is_in_a_registry_alone_is_pulled(
    pulled: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(pulled, release_services=["web"])
    _lose_the_good_image(shop)
    before = pulled.everything()

    looked = shop.run("application", "--check")

    assert looked.code == 0, looked.output
    assert pulled.everything() == before

    done = shop.run("application", "--reason", "orders fail", "--yes")

    assert done.code == 0, done.output
    assert pulled.get() == (200, "1.0.5")
    assert len(pulled.containers()["web"]) == 2


def test_image_whose_tag_means_another_one_by_now_is_not_taken_for_the_good_one(
    pulled: Stack, registry: str, environment: MakeEnvironment
) -> None:
    """It was never pushed, so nothing but its tag could find it again."""
    tag = f"{registry}/shop/web:1.0.7"
    build(tag, {"version": "1.0.7"})
    pulled.deploy(web="1.0.7")
    pulled.wait_for(200)
    shop = environment(pulled, release_services=["web"])
    _lose_the_good_image(shop)
    build(tag, {"version": "1.0.8"})
    docker("push", "--quiet", tag)
    docker("rmi", tag)
    before = pulled.everything()

    refused = shop.run("application", "--reason", "orders fail", "--yes")

    assert refused.code == 3, refused.output
    assert "is not the one that was marked good" in refused.output
    assert pulled.everything() == before

    asked = shop.run("application", "--reason", "orders fail", "--yes", "--to", "1.0.7")

    assert asked.code == 0, asked.output
    assert pulled.get() == (200, "1.0.8")


def test_a_good_release_is_marked_with_the_digest_of_each_image(
    pulled: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(pulled, release_services=["web"])

    assert shop.run("releases", "mark-good", "--yes").code == 0

    # Of this project alone: another one on the same Engine has its own.
    registry = shop.state / "releases" / f"{pulled.project}.good-releases.jsonl"
    (line,) = registry.read_text().splitlines()
    image = json.loads(line)["images"]["web"]
    (name,) = pulled.images("web")
    digest = docker("inspect", "--format", "{{index .RepoDigests 0}}", name).strip()
    assert (image["reference"], image["digest"]) == (name, digest)
    assert image["id"] == docker("inspect", "--format", "{{.Id}}", name).strip()


def test_request_isolation_pulls_the_image_and_ends_every_session(
    pulled: Stack, environment: MakeEnvironment, valkey_server: RedisServer
) -> None:
    shop = environment(
        pulled,
        release_services=["web"],
        traffic_provider="nginx",
        # Past the proxy, which keeps users out.
        verify_checks=[web_is_healthy(pulled)],
        cache_login_port=valkey_server.port,
        request_isolation_services=["web"],
        request_isolation_patterns=["session:*"],
        request_isolation_checks=[],
    )
    _lose_the_good_image(shop)
    sessions = valkey_server.client()
    sessions.mset({"session:ann": "1", "cart:ann": "1"})

    done = shop.run("request-isolation", "--reason", "somebody else's orders", "--yes")

    assert done.code == 0, done.output
    assert "changed  compose1: Users get the maintenance answer" in done.output
    assert pulled.get() == (200, "1.0.5")
    assert sessions.keys() == [b"cart:ann"]
    sessions.close()
    assert shop.undo_of(done, "compose_release")


def test_volumes_are_deleted_only_when_the_project_is_named_too(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(
        stack,
        release_services=["web"],
        release_compose_strategy="all",
        release_compose_trial=False,
        release_compose_remove_volumes=True,
    )
    stack.deploy(web="2.0.0")
    kept = ("/bin/busybox", "test", "-e", "/data/kept")
    docker("exec", stack.containers()["store"][0], "/bin/busybox", "touch", "/data/kept")
    before = stack.containers()
    say = ("application", "--to", "1.0.0", "--reason", "orders fail", "--yes")

    refused = shop.run(*say)

    assert refused.code == 3, refused.output
    assert f"Say remove_volumes_of={stack.project} if you mean it" in refused.output
    assert stack.containers() == before
    docker("exec", before["store"][0], *kept)

    confirmed = f"release_compose_remove_volumes_of={stack.project}"
    done = shop.run(*say, "--take-over", "-e", confirmed)

    assert done.code == 0, done.output
    assert stack.get() == (200, "1.0.0")
    with pytest.raises(RuntimeError):
        docker("exec", stack.containers()["store"][0], *kept)
