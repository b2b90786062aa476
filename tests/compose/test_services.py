"""Scenarios that restart services of a Compose project: what its containers are given by then."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollback_playbook.catalogue.collection import bundled_playbooks
from tests.compose.conftest import MakeEnvironment, MakeStack
from tests.compose.environment import Environment
from tests.compose.images import docker
from tests.compose.stack import COMPOSE_FILE, Stack
from tests.role_runner import run_playbook

pytestmark = pytest.mark.compose

_OTHERS = ("proxy", "web", "worker", "store")
_SERVICE = "  api:\n    image: shop/api:${API:-1.0.0}\n"


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    """The shop, whose service ``api`` has its limits from a file, and a limit of memory."""
    assert _SERVICE in COMPOSE_FILE
    own = f"{_SERVICE}    env_file: limits.env\n    mem_limit: 256m\n"
    return make_stack(
        "limits",
        compose_file=COMPOSE_FILE.replace(_SERVICE, own),
        files={"limits.env": "POOL_MAX=50\n"},
    )


def project(environment: MakeEnvironment, stack: Stack, **variables: Any) -> Environment:
    return environment(stack, release_services=["web"], services_backend="compose", **variables)


def started(stack: Stack, service: str) -> str:
    return docker("inspect", "--format", "{{.State.StartedAt}}", stack.containers()[service][0])


def test_connection_pool_lowers_the_limits_of_what_runs_and_its_undo_raises_them(
    stack: Stack, environment: MakeEnvironment
) -> None:
    file = stack.folder / "limits.env"
    shop = project(
        environment,
        stack,
        connection_pool_environment_file=str(file),
        connection_pool_limits={"POOL_MAX": 10},
        connection_pool_services=["api"],
        connection_pool_checks=[],
        configuration_backup_dir=shop_backups(stack),
    )
    stack.wait_for(200)
    others = stack.containers(*_OTHERS)
    assert "POOL_MAX=50" in stack.environment("api")

    done = shop.run("connection-pool", "--reason", "no connections", "--yes")

    assert done.code == 0, done.output
    assert "POOL_MAX=10" in stack.environment("api")
    assert stack.containers(*_OTHERS) == others
    containers = stack.containers()

    again = shop.run("connection-pool", "--reason", "twice", "--yes")

    assert again.code == 0, again.output
    assert stack.containers() == containers

    undone = shop.run("undo", done.incident, "--yes")

    assert undone.code == 0, undone.output
    assert "POOL_MAX=50" in stack.environment("api")
    assert stack.images("api") == {"shop/api:1.0.0"}
    assert stack.containers(*_OTHERS) == others


def shop_backups(stack: Stack) -> str:
    return str(stack.host / "backups")


def kept(environment: MakeEnvironment, stack: Stack, file: Path, **variables: Any) -> Environment:
    """The project, of which ``file`` is in a backup."""
    shop = project(
        environment,
        stack,
        backup_database=False,
        configuration_paths=[str(file)],
        configuration_backup_dir=shop_backups(stack),
        **variables,
    )
    assert shop.run("releases", "mark-good", "--yes").code == 0
    assert shop.run("backup", "--reason", "deployed", "--yes").code == 0
    return shop


def test_configuration_gives_the_services_that_are_named_what_came_back(
    stack: Stack, environment: MakeEnvironment
) -> None:
    file = stack.folder / "limits.env"
    shop = kept(environment, stack, file, configuration_services=["api"])
    file.write_text("POOL_MAX=5000\n")
    stack.deploy()
    assert "POOL_MAX=5000" in stack.environment("api")

    done = shop.run("configuration", "--reason", "too many connections", "--yes")

    assert done.code == 0, done.output
    assert "POOL_MAX=50" in stack.environment("api")
    evidence = shop.state / "restore-points" / done.incident / "evidence"
    assert "shop 1.0.0 listens" in (evidence / f"{stack.project}-api-1.log").read_text()
    containers = stack.containers()

    again = shop.run("configuration", "--reason", "twice", "--yes")

    assert again.code == 0, again.output
    assert stack.containers() == containers

    undone = shop.run("undo", done.incident, "--yes")

    assert undone.code == 0, undone.output
    assert "POOL_MAX=5000" in stack.environment("api")


def test_application_config_with_the_same_release_gives_the_services_the_kept_values(
    stack: Stack, environment: MakeEnvironment
) -> None:
    file = stack.folder / "limits.env"
    shop = kept(environment, stack, file, services_names=["api"])
    file.write_text("POOL_MAX=5000\n")
    stack.deploy()

    done = shop.run("application-config", "--reason", "too many connections", "--yes")

    assert done.code == 0, done.output
    assert "POOL_MAX=50" in stack.environment("api")


def test_application_config_gives_the_services_of_the_release_the_values_where_none_is_named(
    stack: Stack, environment: MakeEnvironment
) -> None:
    file = stack.folder / "limits.env"
    shop = environment(
        stack,
        release_services=["api"],
        backup_database=False,
        configuration_paths=[str(file)],
        configuration_backup_dir=shop_backups(stack),
    )
    assert shop.run("releases", "mark-good", "--yes").code == 0
    assert shop.run("backup", "--reason", "deployed", "--yes").code == 0
    others = stack.containers(*_OTHERS)
    file.write_text("POOL_MAX=5000\n")
    stack.deploy()

    done = shop.run("application-config", "--reason", "too many connections", "--yes")

    assert done.code == 0, done.output
    assert "POOL_MAX=50" in stack.environment("api")
    assert stack.containers(*_OTHERS) == others

    undone = shop.run("undo", done.incident, "--yes")

    assert undone.code == 0, undone.output
    assert "POOL_MAX=5000" in stack.environment("api")


def test_application_config_with_another_release_gives_every_service_the_kept_values_once(
    make_stack: MakeStack, environment: MakeEnvironment
) -> None:
    """The release brings one of them back; the others keep their image and read the file, too."""
    given = COMPOSE_FILE
    for name in ("web", "api", "worker"):
        image = f"    image: shop/{name}:${{{name.upper()}:-1.0.0}}\n"
        assert image in given
        given = given.replace(image, f"{image}    env_file: shop.env\n")
    stack = make_stack("shared", compose_file=given, files={"shop.env": "POOL_MAX=50\n"})
    file = stack.folder / "shop.env"
    shop = kept(environment, stack, file, configuration_services=["api", "worker", "web"])
    file.write_text("POOL_MAX=5000\n")
    stack.deploy(web="2.1.0")
    others, since = stack.containers("proxy", "store"), time.time()

    done = shop.run("application-config", "--reason", "orders fail", "--yes")

    assert done.code == 0, done.output
    for service in ("web", "api", "worker"):
        assert "POOL_MAX=50" in stack.environment(service)
    assert stack.images("web") == {"shop/web:1.0.0"}
    assert stack.containers("proxy", "store") == others
    containers = stack.containers()
    # Each once; web has two.
    assert sorted(made_since(stack, since)) == sorted(
        each for name in ("web", "api", "worker") for each in containers[name]
    )

    again = shop.run("application-config", "--reason", "twice", "--yes")

    assert again.code == 0, again.output
    assert stack.containers() == containers


def made_since(stack: Stack, since: float) -> list[str]:
    """The containers of services that were started since then, also those that are gone."""
    text = docker(
        "events", "--since", f"{since:.3f}", "--until", f"{time.time():.3f}",
        "--filter", "event=start", "--filter", f"label=com.docker.compose.project={stack.project}",
        "--format", '{{index .Actor.Attributes "com.docker.compose.oneoff"}} {{.Actor.ID}}',
    )  # fmt: skip
    found = [line.split() for line in text.splitlines()]
    return [container for oneoff, container in found if oneoff == "False"]


def test_memory_leak_restarts_the_container_that_leaks_and_keeps_it(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = project(environment, stack, memory_leak_services=["api"], memory_leak_checks=[])
    stack.wait_for(200)
    containers, began = stack.containers(), started(stack, "api")

    done = shop.run("memory-leak", "--reason", "memory grows", "--yes")

    assert done.code == 0, done.output
    assert stack.containers() == containers
    assert started(stack, "api") != began
    evidence = shop.state / "restore-points" / done.incident / "evidence"
    (api,) = json.loads((evidence / "containers.json").read_text())
    assert api["service"] == "api"
    assert "shop 1.0.0 listens" in (evidence / f"{api['name']}.log").read_text()
    assert str(api["pid"]) in (evidence / f"{api['name']}.processes.txt").read_text()


def test_websocket_restarts_its_services_on_a_project_without_a_cache(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = project(
        environment,
        stack,
        websocket_services=["api"],
        lacks=["cache"],
        websocket_checks=[],
    )
    stack.wait_for(200)
    containers, began = stack.containers(), started(stack, "api")

    done = shop.run("websocket", "--reason", "sockets hang", "--yes")

    assert done.code == 0, done.output
    assert stack.containers() == containers
    assert started(stack, "api") != began


def test_release_is_restarted_as_it_runs(stack: Stack, tmp_path: Path) -> None:
    """The entry of role release: no service is named, and the file is not where Compose looks."""
    (stack.folder / "shop.yml").write_text(stack.compose_file)
    (stack.folder / "docker-compose.yml").write_text("services: {other: {image: base}}\n")
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "release_backend": "compose",
        "release_project_src": str(stack.folder),
        "release_compose_files": [str(stack.folder / "shop.yml")],
        "release_state_dir": str(stack.host),
    }
    role = {"name": "sre.rollback.release", "tasks_from": "restart"}
    task = {"name": "Restarted", "ansible.builtin.import_role": role}
    play = yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}])
    containers = stack.containers()
    began = {name: started(stack, name) for name in containers}

    done = run_playbook(tmp_path, play, {"all": {"hosts": {"compose1": host}}})

    assert done.returncode == 0, done.stdout
    assert stack.containers() == containers
    assert all(started(stack, name) != began[name] for name in containers)


def test_services_that_were_stopped_start_with_the_new_secrets(
    stack: Stack, tmp_path: Path
) -> None:
    stack.compose("stop", "api")
    (stack.folder / "limits.env").write_text("SESSION_KEY=new\n")
    security = yaml.safe_load((bundled_playbooks() / "security_breach.yml").read_text())
    (task,) = (
        task
        for play in security
        for task in play.get("tasks", ())
        if task["name"] == "Application is started"
    )
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "services_backend": "compose",
        "services_names": ["api"],
        "release_project_src": str(stack.folder),
        "release_state_dir": str(stack.host),
    }
    play = yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}])

    done = run_playbook(tmp_path, play, {"all": {"hosts": {"compose1": host}}})

    assert done.returncode == 0, done.stdout
    assert "SESSION_KEY=new" in stack.environment("api")
    assert (stack.host / f"{stack.project}.override.yml").exists()
