"""What recording a fleet costs: the same plays plain, with ara's callback, and through the
command line with its record and its live screen on a terminal of 80 by 24.

Local connections and tasks that need no process on the host: what is left is Ansible itself, its
callbacks, and what is done with them.

    python benchmarks/fleet.py                           # 200 hosts
    python benchmarks/fleet.py --ara /path/to/python     # an interpreter that has ara[server]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

PHASES = ("Declare", "Protect", "Close")


@dataclass(frozen=True)
class Fleet:
    """A folder with an inventory and a scenario."""

    folder: Path
    hosts: int
    tasks: int

    @property
    def inventory(self) -> Path:
        return self.folder / "hosts"

    @property
    def scenario(self) -> Path:
        return self.folder / "scenarios" / "fleet.yml"

    def write(self) -> None:
        lines = [f"web{number:03d} ansible_connection=local" for number in range(self.hosts)]
        self.inventory.write_text("\n".join(lines) + "\n", encoding="ascii")
        self.scenario.parent.mkdir()
        self.scenario.write_text("".join(map(self._play, PHASES)), encoding="ascii")

    def _play(self, name: str) -> str:
        about = (
            "  vars:\n    rollback_scenario: {title: Fleet, level: operation, target_seconds: 60}\n"
            if name == PHASES[0]
            else ""
        )
        tasks = "".join(
            f"    - name: Step {number} is told\n      ansible.builtin.debug:\n"
            f'        msg: "{{{{ inventory_hostname }}}} is at step {number}"\n'
            for number in range(self.tasks)
        )
        return f"- name: {name}\n  hosts: all\n  gather_facts: false\n{about}  tasks:\n{tasks}"


@dataclass(frozen=True)
class Took:
    """Seconds by the clock, and of processor time in all processes."""

    wall: float
    cpu: float


def measured(argv: list[str], environment: Mapping[str, str], stderr: int) -> Took:
    began = time.perf_counter()
    process = subprocess.Popen(
        argv,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{argv[0]} ended with {process.returncode}")
    return Took(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def plain(fleet: Fleet, python: str = sys.executable, **environment: str) -> Took:
    program = str(Path(python).with_name("ansible-playbook"))
    argv = [program, "-i", str(fleet.inventory), str(fleet.scenario)]
    return measured(argv, environment, subprocess.DEVNULL)


def with_ara(fleet: Fleet, python: str) -> Took:
    asked = [python, "-m", "ara.setup.callback_plugins"]
    plugins = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return plain(
        fleet,
        python,
        ANSIBLE_CALLBACK_PLUGINS=plugins,
        ARA_BASE_DIR=str(fleet.folder / "ara"),
        ARA_API_CLIENT="offline",
    )


def ours(fleet: Fleet) -> Took:
    """On a pseudo-terminal, so that the live screen is drawn; what it prints is read and let go."""
    person, machine = os.openpty()
    termios.tcsetwinsize(machine, (24, 80))
    reader = threading.Thread(target=_drain, args=(person,), daemon=True)
    reader.start()
    options = ["--state-dir", str(fleet.folder / "state")]
    options += ["--playbook-dir", str(fleet.scenario.parent)]
    argv = [sys.executable, "-m", "rollback_playbook", *options, "fleet", "--yes"]
    try:
        return measured([*argv, "-i", str(fleet.inventory)], {"TERM": "xterm"}, machine)
    finally:
        os.close(machine)
        reader.join(5)
        os.close(person)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        return


def row(name: str, took: Took, base: Took) -> None:
    print(
        f"{name:<28} {took.wall:>7.1f} s {took.cpu:>9.1f} s CPU"
        f" {took.wall / base.wall:>7.2f} x {took.cpu / base.cpu:>7.2f} x CPU"
    )


def best(runs: int, measure: Callable[[Fleet], Took], hosts: int, tasks: int) -> Took:
    """The run that took the least processor time: the others were disturbed."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            fleet = Fleet(Path(name), hosts, tasks)
            fleet.write()
            found.append(measure(fleet))
    return min(found, key=lambda took: took.cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=5, help="tasks of each of three plays")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--ara", metavar="PYTHON", help="an interpreter that has ara[server]")
    options = parser.parse_args()
    shape = (options.hosts, options.tasks)
    print(f"{options.hosts} hosts, {len(PHASES) * options.tasks} tasks, {options.runs} run(s)\n")
    base = best(options.runs, plain, *shape)
    row("ansible-playbook", base, base)
    row("with record and live screen", best(options.runs, ours, *shape), base)
    if options.ara:
        row(
            "with ara's callback",
            best(options.runs, lambda f: with_ara(f, options.ara), *shape),
            base,
        )
    else:
        print("with ara's callback          not measured: --ara PYTHON")


if __name__ == "__main__":
    main()
