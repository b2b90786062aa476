"""An environment of one small shop, for drills that are broken off: its scenario takes seconds.

The shop fails while somebody has broken its search and the search is on; ``feature-flags`` turns it
off. Nothing of it is the lab's.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rollback_playbook.record.drill_log import Drill, read_drills

_DEADLINE_SECONDS = 120.0
SCENARIO = "feature-flags"
_FAULT = """\
- name: Somebody deploys
  hosts: {hosts}
  gather_facts: false
  tasks:
    - name: It begins
      ansible.builtin.file: {{path: "{folder}/begun", state: touch, mode: "0600"}}
    - name: It takes a while
      ansible.builtin.command: sleep {seconds}
      changed_when: true
    - name: Search is broken
      ansible.builtin.shell: touch {folder}/broken; {also}
      changed_when: true
"""


@dataclass
class Hit:
    """Which signal the processes of a terminal get, how often, at which line and how long after."""

    signal: str
    line: str
    after: float = 0.0
    times: int = 1
    between: float = 0.4

    def __str__(self) -> str:
        return f"{self.times} {self.signal} {self.after:g} s after {self.line}"


@dataclass
class Done:
    """How a command ended, and everything that it has printed."""

    code: int
    output: str


@dataclass
class SmallShop:
    """The shop, its inventory, and somebody who types commands for it."""

    folder: Path
    url: str
    state_dir: Path
    _variables: dict[str, Any] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.folder / "inventories" / "staging"

    @property
    def command(self) -> str:
        """What brings the shop back."""
        return f"rollback-playbook {SCENARIO} -i {self.inventory}"

    @property
    def is_broken(self) -> bool:
        return is_broken(self.folder)

    def says(self, **variables: Any) -> None:
        self._variables.update(variables)
        path = self.inventory / "group_vars" / "all" / "variables.yml"
        path.write_text(json.dumps(self._variables))

    def is_deployed(self, *, hosts: str = "app", seconds: float = 0, also: str = "true") -> None:
        """What the fault is: ``also`` is a command."""
        text = _FAULT.format(hosts=hosts, folder=self.folder, seconds=seconds, also=also)
        (self.folder / "deploys.yml").write_text(text)

    def mend(self) -> None:
        """As it was before any drill."""
        for name in ("broken", "begun"):
            (self.folder / name).unlink(missing_ok=True)
        write_flags(self.folder)

    def starts(self, *argv: str) -> subprocess.Popen[str]:
        """A session of its own, so that a signal for it is one for all that a terminal has."""
        return subprocess.Popen(
            [sys.executable, "-m", "rollback_playbook", *argv],
            env={**os.environ, "ROLLBACK_PLAYBOOK_STATE_DIR": str(self.state_dir)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def types(self, *argv: str) -> Done:
        return followed(self.starts(*argv), None)

    def drill(self, hit: Hit | None = None, what: str = SCENARIO) -> Done:
        """``what`` is a scenario or ``--all``."""
        return followed(self.starts("drill", what, "-i", str(self.inventory)), hit)

    def comes_back(self) -> Done:
        """The scenario's own command."""
        return self.types(SCENARIO, "-i", str(self.inventory))

    def log(self) -> list[Drill]:
        return read_drills(self.state_dir)


def followed(process: subprocess.Popen[str], hit: Hit | None) -> Done:
    """To its end; ``hit`` is sent to its whole group, as a terminal does."""
    watch = threading.Timer(_DEADLINE_SECONDS, process.kill)
    watch.start()
    lines: list[str] = []
    striking: threading.Thread | None = None
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if hit is not None and striking is None and re.search(hit.line, line):
                striking = threading.Thread(target=_strike, args=(process.pid, hit))
                striking.start()
        code = process.wait()
    finally:
        watch.cancel()
        process.kill()
        process.communicate()
        if striking is not None:
            striking.join()
    assert hit is None or striking is not None, "".join(lines)
    return Done(code, "".join(lines))


def _strike(group: int, hit: Hit) -> None:
    time.sleep(hit.after)
    for number in range(hit.times):
        time.sleep(hit.between if number else 0)
        try:
            os.killpg(group, getattr(signal, hit.signal))
        except ProcessLookupError:
            return


@contextmanager
def small_shop(folder: Path, state_dir: Path) -> Iterator[SmallShop]:
    """One that is up and well."""
    (folder / "releases" / "1.0.0").mkdir(parents=True)
    (folder / "current").symlink_to("releases/1.0.0")
    write_flags(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    shop = SmallShop(folder, f"http://127.0.0.1:{server.server_port}/orders", state_dir)
    _write_inventory(shop)
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _write_inventory(shop: SmallShop) -> None:
    folder = shop.folder
    (shop.inventory / "group_vars" / "all").mkdir(parents=True)
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"all": {"children": {"app": {"hosts": {"shop1": host}}, "spare": {"hosts": {}}}}}
    (shop.inventory / "hosts.yml").write_text(json.dumps(hosts))
    shop.is_deployed()
    shop.says(
        rollback_environment="staging",
        rollback_protected=False,
        rollback_restore_points=str(folder / "restore-points"),
        incident_lock_path=str(folder / "locks"),
        release_backend="supervisor",
        release_root=str(folder),
        verify_checks=[{"name": "orders are shown", "http": {"url": shop.url, "status": [200]}}],
        verify_success_threshold=1,
        verify_period=0.1,
        verify_deadline=3,
        protect_flag_path=str(folder / "flags.json"),
        feature_flags_safe={"search": "off"},
        drill_url=shop.url,
        drill_faults={SCENARIO: {"playbook": "../../deploys.yml"}},
    )


def write_flags(folder: Path, *, search: str = "on") -> None:
    """The search is on, unless somebody has turned it off."""
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": search}
    (folder / "flags.json").write_text(json.dumps({"flags": {"search": flag}}))


def is_broken(folder: Path) -> bool:
    flags = json.loads((folder / "flags.json").read_text())
    on = flags["flags"]["search"]["defaultVariant"] == "on"
    return on and (folder / "broken").exists()


def _handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if is_broken(folder) else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    return Handler
