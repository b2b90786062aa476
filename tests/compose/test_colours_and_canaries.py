"""``blue-green`` and ``canary-abort`` on Compose: users are on one side, then on the other."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import MakeEnvironment, MakeStack
from tests.compose.environment import Environment
from tests.compose.load import Load
from tests.compose.proxy import nginx
from tests.compose.stack import Stack

pytestmark = pytest.mark.compose

COMPOSE_FILE = """\
services:
  proxy:
    image: base/nginx:1
    command: ["/usr/sbin/nginx", "-p", "/run", "-c", "/etc/nginx/nginx.conf"]
    ports: ["127.0.0.1:${PORT}:80"]
    volumes: ["./nginx:/etc/nginx:ro", "./upstream:/etc/upstream:ro"]
    stop_grace_period: 2s
    depends_on: [blue, green]
  blue:
    image: shop/web:${BLUE:-1.0.0}
    stop_grace_period: 2s
  green:
    image: shop/web:${GREEN:-1.1.0}
    stop_grace_period: 2s
"""

NOTHING_OF_IT = "services: {other: {image: 'base/python:3'}}\n"

FORWARDED = nginx(
    """
    include /etc/upstream/*.conf;
    server {
      listen 80;
      location / { proxy_pass http://shop; }
    }
    """
)


def upstream(colour: str) -> str:
    """Without ``resolve``: a new name has no address then until nginx has asked for it."""
    return f"upstream shop {{ server {colour}:8000; }}\n"


def side(stack: Stack, colour: str, version: str) -> dict[str, Any]:
    program = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/orders')"
    container = f"{stack.project}-{colour}-1"
    argv = ["docker", "exec", container, "/usr/bin/python3", "-c", program]
    return {
        "upstream": upstream(colour),
        "answers": version,
        "checks": [{"name": f"{colour} answers", "command": {"argv": argv}}],
        "services": [colour],
    }


def proxied(stack: Stack) -> dict[str, Any]:
    """How nginx in its container is told."""
    return {
        "traffic_provider": "nginx",
        "traffic_upstream_path": str(stack.folder / "upstream" / "shop.conf"),
        "verify_checks": [
            {
                "name": "users see orders",
                "http": {"url": f"http://127.0.0.1:{stack.port}/orders", "status": [200]},
            }
        ],
    }


def canary(stack: Stack) -> dict[str, Any]:
    """Blue is stable, green is its canary."""
    return {
        "canary_upstream_name": "shop",
        "canary_answers": "1.0.0",
        "canary_stable": ["blue:8000 resolve"],
        "canary_canary": ["green:8000 resolve"],
        "canary_options": ["zone shop 64k;"],
        "canary_checks": side(stack, "blue", "1.0.0")["checks"],
    }


def made(make_stack: MakeStack, colour: str) -> Stack:
    """All users are on this side."""
    files = {"nginx/nginx.conf": FORWARDED, "upstream/shop.conf": upstream(colour)}
    return make_stack(f"on-{colour}", compose_file=COMPOSE_FILE, files=files)


def test_users_go_to_the_other_colour_and_the_bad_one_stops_only_then(
    make_stack: MakeStack, environment: MakeEnvironment
) -> None:
    stack = made(make_stack, "green")
    sides = {"blue": side(stack, "blue", "1.0.0"), "green": side(stack, "green", "2.1.0")}
    # Elsewhere than Compose looks, and with a colour in a profile.
    other = COMPOSE_FILE.replace("  green:\n", "  green:\n    profiles: [colours]\n")
    (stack.folder / "compose.prod.yml").write_text(other)
    shop = environment(
        stack,
        colours_sides=sides,
        release_compose_files=[str(stack.folder / "compose.prod.yml")],
        release_compose_profiles=["colours"],
        **proxied(stack),
    )
    stack.deploy(green="2.1.0")
    # The container is another one, and may have another address.
    stack.reload_proxy()
    stack.compose("stop", "blue")
    (stack.folder / "docker-compose.yml").write_text(NOTHING_OF_IT)
    stack.wait_for(500)

    with Load(stack, "/") as load:
        done = shop.run("blue-green", "--reason", "orders fail", "--yes")

    assert done.code == 0, done.output
    assert stack.get() == (200, "1.0.0")
    assert set(stack.containers()) == {"proxy", "blue"}
    assert load.faults == []
    evidence = shop.state / "restore-points" / done.incident / "evidence"
    assert "shop 2.1.0 listens" in (evidence / f"{stack.project}-green-1.log").read_text()

    again = shop.run("blue-green", "--reason", "twice", "--yes", "-e", "colours_to=blue")
    assert again.code == 3, again.output
    assert "Users are on blue already; nothing was changed" in again.output

    undone = shop.run("undo", done.incident, "--yes")
    assert undone.code == 5, undone.output
    assert stack.get() == (500, "2.1.0")
    # As it was found: the colour that was started for it is stopped again.
    assert set(stack.containers()) == {"proxy", "green"}


@pytest.mark.parametrize(
    ("runs", "version", "says"),
    [
        pytest.param(True, "2.1.0", "'blue answers' (command) is failing", id="runs"),
        pytest.param(False, "2.1.0", "'blue answers' (command) is failing", id="was stopped"),
        pytest.param(False, "4.0.0", "was not healthy within 3 s", id="does not start well"),
    ],
)
def test_colour_that_is_red_gets_no_users_and_runs_no_more_than_before(
    make_stack: MakeStack, environment: MakeEnvironment, runs: bool, version: str, says: str
) -> None:
    stack = made(make_stack, "green")
    stack.deploy(blue=version)
    if not runs:
        stack.compose("stop", "blue")
    sides = {"blue": side(stack, "blue", version), "green": side(stack, "green", "1.1.0")}
    shop = environment(stack, colours_sides=sides, colours_deadline=3, **proxied(stack))
    before = stack.containers()

    refused = shop.run("blue-green", "--reason", "a try", "--yes")

    assert refused.code == 3, refused.output
    assert says in refused.output
    assert "✗ Prepare" in refused.output
    assert "nothing was changed" in refused.output
    assert stack.get() == (200, "1.1.0")
    assert stack.containers() == before


def test_bad_colour_runs_on_while_the_gate_is_red_with_users_on_the_other(
    make_stack: MakeStack, environment: MakeEnvironment
) -> None:
    stack = made(make_stack, "green")
    sides = {"blue": side(stack, "blue", "1.0.0"), "green": side(stack, "green", "2.1.0")}
    never = {"name": "it is never so", "command": {"argv": ["false"]}}
    about = {**proxied(stack), "verify_checks": [never], "verify_deadline": 2}
    shop = environment(stack, colours_sides=sides, **about)
    stack.deploy(green="2.1.0")
    stack.reload_proxy()
    stack.wait_for(500)

    done = shop.run("blue-green", "--reason", "orders fail", "--yes")

    assert done.code == 5, done.output
    assert set(stack.containers()) == {"proxy", "blue", "green"}


def red_until_mended(stack: Stack) -> dict[str, Any]:
    """A check of a gate that is red until somebody has mended what it is about."""
    return {"name": "it is mended", "command": {"argv": ["test", "-e", str(mended(stack))]}}


def mended(stack: Stack) -> Path:
    return stack.folder / "mended"


def both_colours(stack: Stack, environment: MakeEnvironment, **about: Any) -> Environment:
    """Green answers as well: what is wrong with it is seen by people alone."""
    sides = {"blue": side(stack, "blue", "1.0.0"), "green": side(stack, "green", "1.1.0")}
    about = {**proxied(stack), "verify_deadline": 4, **about}
    return environment(stack, colours_sides=sides, **about)


@pytest.mark.parametrize(
    ("gate", "options"),
    [("verify_checks", ()), ("verify_confirm_checks", ("-e", "colours_to=blue"))],
    ids=["Verify", "Confirm"],
)
def test_colour_that_users_were_sent_to_runs_when_the_incident_was_continued(
    make_stack: MakeStack, environment: MakeEnvironment, gate: str, options: tuple[str, ...]
) -> None:
    stack = made(make_stack, "green")
    shop = both_colours(stack, environment, **{gate: [red_until_mended(stack)]})
    red = shop.run("blue-green", "--reason", "orders fail", "--yes", *options)
    assert red.code == 5, red.output
    assert stack.get() == (200, "1.0.0")

    mended(stack).touch()
    with Load(stack, "/orders") as load:
        done = shop.run("continue", red.incident, "--yes")

    assert done.code == 0, done.output
    assert load.faults == []
    assert stack.get() == (200, "1.0.0")
    assert set(stack.containers()) == {"proxy", "blue"}


def test_run_that_is_killed_when_users_were_switched_does_not_send_them_back(
    make_stack: MakeStack, environment: MakeEnvironment
) -> None:
    stack = made(make_stack, "green")
    shop = both_colours(stack, environment)
    held = stack.folder / "upstream" / "shop.conf"

    process = shop.start("blue-green", "--reason", "orders fail", "--yes")
    deadline = time.monotonic() + 300
    while held.read_text() != upstream("blue"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = shop.run("continue", "last", "--yes")

    assert done.code == 0, done.output
    assert "goes on at Switch" in done.output
    assert stack.get() == (200, "1.0.0")
    assert set(stack.containers()) == {"proxy", "blue"}


def test_colour_that_somebody_has_sent_users_back_to_is_not_stopped(
    make_stack: MakeStack, environment: MakeEnvironment
) -> None:
    stack = made(make_stack, "green")
    shop = both_colours(stack, environment, verify_confirm_checks=[red_until_mended(stack)])
    red = shop.run("blue-green", "--reason", "orders fail", "--yes")
    assert red.code == 5, red.output
    (stack.folder / "upstream" / "shop.conf").write_text(upstream("green"))
    stack.reload_proxy()

    mended(stack).touch()
    done = shop.run("continue", red.incident, "--yes")

    assert done.code == 5, done.output
    assert "does not send users to blue any more; nothing was stopped" in done.output
    assert stack.get() == (200, "1.1.0")
    assert set(stack.containers()) == {"proxy", "blue", "green"}

    other = shop.run("continue", red.incident, "--yes", "-e", "colours_to=green")
    assert other.code == 3, other.output
    assert "This incident sends users to blue, and colours_to is green" in other.output


def test_bad_canary_gets_no_users_any_more_and_a_second_time_changes_nothing(
    make_stack: MakeStack, environment: MakeEnvironment
) -> None:
    stack = made(make_stack, "blue")
    shop = environment(stack, **canary(stack), **proxied(stack))
    shared = shop.run("canary-abort", "--reason", "a share", "--yes", "-e", "canary_weight=25")
    stack.deploy(green="2.1.0")
    stack.wait_for(500)
    felt = Counter(stack.get() for _ in range(100))

    done = shop.run("canary-abort", "--reason", "it fails", "--yes")
    weights = (stack.folder / "upstream" / "shop.conf").read_text()
    with Load(stack, "/orders") as load:
        again = shop.run("canary-abort", "--reason", "twice", "--yes")

    assert shared.code == 0, shared.output
    assert felt[500, "2.1.0"] > 0
    assert done.code == 0, done.output
    assert load.faults == []
    assert again.code in (0, 3), again.output
    assert (stack.folder / "upstream" / "shop.conf").read_text() == weights


def test_share_of_a_canary_is_set_and_then_taken_from_it(
    make_stack: MakeStack, environment: MakeEnvironment
) -> None:
    stack = made(make_stack, "blue")
    shop = environment(stack, **canary(stack), **proxied(stack))

    def answered(requests: int = 100) -> Counter[str]:
        return Counter(stack.get()[1] for _ in range(requests))

    for share in (10, 25, 50, 100):
        set_to = shop.run(
            "canary-abort", "--reason", "a share", "--yes", "-e", f"canary_weight={share}"
        )
        assert set_to.code == 0, set_to.output
        assert answered()["1.1.0"] == share

    done = shop.run("canary-abort", "--reason", "it fails", "--yes")
    assert done.code == 0, done.output
    assert answered() == {"1.0.0": 100}
    assert set(stack.containers()) == {"proxy", "blue", "green"}

    undone = shop.run("undo", done.incident, "--yes")
    assert undone.code == 0, undone.output
    assert answered() == {"1.1.0": 100}
