"""A real Docker Engine for the tests, and somebody's project on it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.compose.engine import NoEngineError, one_after_the_other, prepared_engine
from tests.compose.environment import Environment
from tests.compose.images import docker
from tests.compose.servers import make_server_images
from tests.compose.stack import Stack, free_port
from tests.compose.whole_shop import COMPOSE_FILE, FILES, WholeShop


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """``docker`` and ``docker compose`` work, and the images of the shop are there."""
    with ExitStack() as running:
        try:
            running.enter_context(prepared_engine())
        except NoEngineError as exc:
            pytest.skip(str(exc))
        yield


MakeStack = Callable[..., Stack]


@pytest.fixture(scope="module")
def make_stack(
    engine: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MakeStack]:
    """``make_stack(name, compose_file=…, files={…})``: a project that answers users.

    The tests of a module share those of a name: a project takes longer to start than to put back.
    """
    made: dict[str, Stack] = {}
    parent = tmp_path_factory.mktemp("projects")

    def make(name: str, **about: Any) -> Stack:
        if name not in made:
            folder = parent / f"{name}{os.getpid()}{time.monotonic_ns() % 10**6}"
            folder.mkdir()
            made[name] = Stack(folder, free_port(), **about)
        made[name].reset()
        return made[name]

    try:
        yield make
    finally:
        for stack in made.values():
            stack.down()


MakeWholeShop = Callable[..., WholeShop]


@pytest.fixture(scope="module")
def make_whole_shop(make_stack: MakeStack) -> MakeWholeShop:
    """``make_whole_shop(compose_file=…)``: the module's one, as its owner has left it."""
    with one_after_the_other():
        make_server_images()
    ports = {"CACHE_PORT": str(free_port()), "DATABASE_PORT": str(free_port())}

    def make(compose_file: str = COMPOSE_FILE) -> WholeShop:
        stack = make_stack(
            "whole",
            compose_file=compose_file,
            files=FILES,
            variables=ports,
            fill=lambda stack: WholeShop(stack).as_in_the_beginning(),
        )
        return WholeShop(stack)

    return make


@pytest.fixture(scope="session")
def shared_stack(
    engine: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """The project of all tests that want nothing special: it takes longer to start than to mend."""
    folder = tmp_path_factory.mktemp("project") / f"shop{os.getpid()}"
    folder.mkdir()
    made = Stack(folder, free_port())
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Release 1.0.0 of everything, answering users, whatever the test before has left."""
    shared_stack.reset()
    return shared_stack


MakeEnvironment = Callable[..., Environment]


@pytest.fixture
def environment(tmp_path: Path) -> MakeEnvironment:
    """``environment(stack, release_services=[…])``: an inventory for it, with these variables."""

    def make(
        stack: Stack,
        *,
        hosts: Mapping[str, Mapping[str, Any]] | None = None,
        lacks: Sequence[str] = (),
        has: Sequence[str] = (),
        within: Sequence[str] = (),
        **variables: Any,
    ) -> Environment:
        made = Environment(stack, tmp_path, variables, hosts or {}, lacks, has, within)
        made.write()
        return made

    return make


@pytest.fixture
def images(engine: None) -> Callable[..., dict[str, dict[str, str]]]:  # noqa: ARG001
    """``images(web="1.0.0")``: the arguments that name these images."""

    def named(**versions: str) -> dict[str, dict[str, str]]:
        return {
            service: {
                "reference": f"shop/{service}:{version}",
                "id": json.loads(docker("image", "inspect", f"shop/{service}:{version}"))[0]["Id"],
            }
            for service, version in versions.items()
        }

    return named
