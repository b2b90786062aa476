"""``blue-green`` where a supervisor runs the colours, each on a host of its own."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxies import Proxy, Sides
from tests.real_servers import free_port
from tests.supervised import Supervised

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_COLOURS = ("blue", "green")
_SERVER = """\
import http.server, pathlib, sys, time

colour, port, slow = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[1] + ".slow")
print(colour, "starts", flush=True)
time.sleep(float(slow.read_text()) if slow.exists() else 0)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if pathlib.Path(colour + ".bad").exists() else 200)
        self.send_header("X-Colour", colour)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class Colours(Supervised):
    """Blue on ``app1`` and green on ``app2``, each a program with a port."""

    def __init__(self, folder: Path) -> None:
        self.ports = {colour: free_port() for colour in _COLOURS}
        (folder / "server.py").write_text(_SERVER)
        scripts = {
            colour: f"test -e {colour}.crash && sleep 0.3 && exit 1\n"
            f"exec {sys.executable} server.py {colour} {port}"
            for colour, port in self.ports.items()
        }
        super().__init__(folder, scripts, startsecs=1)

    def is_bad(self, colour: str) -> None:
        """It answers with an error from now on."""
        (self.folder / f"{colour}.bad").touch()

    def crashes(self, colour: str) -> None:
        """It ends at once when it is started."""
        (self.folder / f"{colour}.crash").touch()

    def is_slow(self, colour: str, seconds: float) -> None:
        """It listens only so long after its start."""
        (self.folder / f"{colour}.slow").write_text(str(seconds))

    def runs(self) -> set[str]:
        """Those that run, or are about to be started again."""
        return set(
            re.findall(r"^(\w+) +(?:RUNNING|STARTING|BACKOFF)", self.control("status"), re.M)
        )

    def evidence(self, host: str) -> list[str]:
        """The names of the files that were kept."""
        return sorted(path.name for path in self.folder.glob(f"{host}/*/evidence/*"))


@pytest.fixture
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Colours]:
    made = Colours(tmp_path_factory.mktemp("colours"))
    yield made
    made.stop()


@pytest.fixture
def sides(colours: Colours) -> Sides:
    """What the proxy of the tests is before."""
    return Sides(*(f"127.0.0.1:{colours.ports[colour]}" for colour in _COLOURS))


@pytest.fixture
def shop(colours: Colours, proxy: Proxy) -> Proxy:
    """Users are on green, and blue is stopped."""
    _write_inventory(colours, proxy)
    colours.control("stop", "blue")
    return proxy


def _write_inventory(colours: Colours, proxy: Proxy, **variables: Any) -> None:
    def side(colour: str, host: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{colours.ports[colour]}/"
        return {
            "upstream": f"upstream app {{ server 127.0.0.1:{colours.ports[colour]}; }}\n",
            "answers": f"X-Colour: {colour}",
            "checks": [{"name": f"{colour} answers", "http": {"url": url, "status": [200]}}],
            "services": [colour],
            "hosts": [host],
        }

    own = {
        f"app{number}": {"rollback_restore_points": str(colours.folder / f"app{number}")}
        for number in (1, 2)
    }
    options = proxy.options
    colours.write_inventory(
        {"app": own, "proxy": {"lb": {}}},
        **{
            "traffic_provider": "nginx",
            "traffic_url": options["url"],
            "traffic_upstream_path": str(proxy.upstream),
            **{f"traffic_{name}": options[name] for name in ("binary", "config", "prefix")},
            "colours_sides": {"blue": side("blue", "app1"), "green": side("green", "app2")},
            "release_backend": "supervisor",
            "colours_period": 0.2,
            "colours_deadline": 10,
            "verify_checks": [
                {"name": "users are served", "http": {"url": options["url"], "status": [200]}}
            ],
            **variables,
        },
    )


@pytest.mark.drill
def test_users_go_to_a_colour_that_was_stopped_and_the_bad_one_stops_only_then(
    colours: Colours, shop: Proxy
) -> None:
    colours.is_bad("green")

    done = colours.types("blue-green", "--reason", "orders fail")

    assert done.returncode == 0, done.stderr
    assert shop.seen() == (200, "blue")
    assert colours.runs() == {"blue"}
    # Each on its own host.
    assert "green.stdout.log" in colours.evidence("app2")
    assert "green.stdout.log" not in colours.evidence("app1")

    colours.is_slow("green", 3)
    undone = colours.types("undo", _incident(done.stderr))
    # Green is as bad as it was; users had to wait for nobody.
    assert undone.returncode == 5, undone.stderr
    assert shop.seen() == (500, "green")
    assert colours.runs() == {"green"}


@pytest.mark.drill
def test_undo_sends_users_back_only_when_the_colour_listens(colours: Colours, shop: Proxy) -> None:
    done = colours.types("blue-green", "--reason", "a try")
    assert done.returncode == 0, done.stderr
    colours.is_slow("green", 3)

    undone = colours.types("undo", _incident(done.stderr))

    assert undone.returncode == 0, undone.stderr
    assert shop.seen() == (200, "green")
    assert colours.runs() == {"green"}


@pytest.mark.drill
def test_colour_that_ran_already_runs_on_after_the_undo(colours: Colours, shop: Proxy) -> None:
    colours.control("start", "blue")
    done = colours.types("blue-green", "--reason", "a try")
    assert done.returncode == 0, done.stderr
    assert colours.runs() == {"blue"}

    undone = colours.types("undo", _incident(done.stderr))

    assert undone.returncode == 0, undone.stderr
    assert shop.seen() == (200, "green")
    assert colours.runs() == {"blue", "green"}


@pytest.mark.drill
def test_colour_that_answers_with_errors_gets_no_users_and_is_stopped_again(
    colours: Colours, shop: Proxy
) -> None:
    colours.is_bad("blue")
    _write_inventory(colours, shop, colours_deadline=2)

    refused = colours.types("blue-green", "--reason", "a try")

    assert refused.returncode == 3, refused.stderr
    assert "'blue answers' (http) is failing" in refused.stderr
    assert "✗ Prepare" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert shop.seen() == (200, "green")
    assert colours.runs() == {"green"}


def test_colour_that_crashes_gets_no_users_and_is_not_started_again_and_again(
    colours: Colours, shop: Proxy
) -> None:
    colours.crashes("blue")

    refused = colours.types("blue-green", "--reason", "a try")

    assert refused.returncode == 3, refused.stderr
    assert "blue could not be started on app1: blue: ERROR" in refused.stderr
    assert "✗ Prepare" in refused.stderr
    assert shop.seen() == (200, "green")
    time.sleep(2)
    assert colours.runs() == {"green"}


@pytest.mark.drill
@pytest.mark.parametrize(
    ("said", "wrong", "told"),
    [
        ('"services": ["blue"]', '"services": ["bleu"]', "bleu: ERROR (no such process)"),
        (
            '"hosts": ["app1"]',
            '"hosts": ["app7"]',
            "colours_sides names app7, which group app does not have",
        ),
    ],
    ids=["program", "host"],
)
def test_what_a_colour_names_and_is_not_there_is_refused_before_anything_is_started(
    colours: Colours, shop: Proxy, said: str, wrong: str, told: str
) -> None:
    inventory = colours.folder / "hosts.yml"
    inventory.write_text(inventory.read_text().replace(said, wrong))

    refused = colours.types("blue-green", "--reason", "a try")

    assert refused.returncode == 3, refused.stderr
    assert told in " ".join(refused.stderr.split())
    assert shop.seen() == (200, "green")
    assert colours.runs() == {"green"}


@pytest.mark.drill
def test_users_leave_a_colour_whose_host_has_died_when_it_is_left_out(
    colours: Colours, shop: Proxy
) -> None:
    hosts = json.loads((colours.folder / "hosts.yml").read_text())
    died = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}
    hosts["all"]["children"]["app"]["hosts"]["app2"] |= died
    (colours.folder / "hosts.yml").write_text(json.dumps(hosts))

    refused = colours.types("blue-green", "--reason", "a try")
    assert refused.returncode == 3, refused.stderr
    assert "--limit 'all:!app2'" in refused.stderr
    assert colours.runs() == {"green"}

    done = colours.types("blue-green", "--reason", "app2 is gone", "--limit", "all:!app2")
    assert done.returncode == 0, done.stderr
    assert shop.seen() == (200, "blue")


def _incident(said: str) -> str:
    found = re.search(r"record: .*/(\S+)", said)
    assert found, said
    return found.group(1)
