"""The cost of the command line: application on the lab through it, and under plain Ansible.

    python benchmarks/scenario_overhead.py                         # five rounds
    python benchmarks/scenario_overhead.py --ara /path/to/python   # with ara[server] and us in it

All roll back the same bad release, in turns. Two times of the command line are printed: of its
run of the playbook, which is what the other one is compared with, and of the whole command, which
also resolves hosts, looks ahead with Assess, and writes the report.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rollback_playbook.catalogue.collection import bundled_playbooks, collections_root
from rollback_playbook.execution.ansible_environment import ansible_environment
from rollback_playbook.lab import lifecycle
from rollback_playbook.lab.places import Lab


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ara", metavar="PYTHON", help="an interpreter that has ara[server]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rollback-bench-") as name:
        Path(name).chmod(0o755)
        lab, state = Lab(Path(name) / "lab"), Path(name) / "state"
        os.environ |= {
            "ROLLBACK_LAB_DIR": str(lab.directory),
            "ROLLBACK_PLAYBOOK_STATE_DIR": str(state),
        }
        _command("lab", "up", "--scale", "0.02")
        try:
            _measure(lab, state, options.rounds, options.ara)
        finally:
            _command("lab", "down", "--purge")


def _measure(lab: Lab, state: Path, rounds: int, ara: str | None) -> None:
    plain, recorded, run, whole = [], [], [], []
    for _ in range(rounds):
        _break(lab)
        plain.append(_seconds(_plain_argv(lab), _environment()))
        if ara:
            _break(lab)
            recorded.append(_seconds(_plain_argv(lab, ara), _with_ara(ara, lab)))
        _break(lab)
        whole.append(_seconds(_wrapper_argv("application", "-i", "lab"), dict(os.environ)))
        run.append(_run_seconds(state))
    base = median(plain)
    print(f"application on the lab, median of {rounds} rounds")
    print(f"  plain ansible-playbook         {base:6.2f} s")
    ratio = median(run) / base
    print(f"  the same run, command line     {median(run):6.2f} s   {ratio:.2f} x (target 1.10 x)")
    print(f"  the whole command              {median(whole):6.2f} s   {median(whole) / base:.2f} x")
    if recorded:
        took = median(recorded)
        print(f"  plain, with ara's callback     {took:6.2f} s   {took / base:.2f} x")


def _break(lab: Lab) -> None:
    lifecycle.break_release(lab.directory, migrate=False)


def _with_ara(python: str, lab: Lab) -> dict[str, str]:
    """Ara as its documentation has it for one machine: offline, with SQLite."""
    asked = [python, "-m", "ara.setup.callback_plugins"]
    plugins = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return {
        **_environment(),
        "ANSIBLE_CALLBACK_PLUGINS": plugins,
        "ARA_BASE_DIR": str(lab.directory.parent / "ara"),
        "ARA_API_CLIENT": "offline",
    }


def _plain_argv(lab: Lab, python: str = sys.executable) -> list[str]:
    return [
        str(Path(python).parent / "ansible-playbook"),
        str(bundled_playbooks() / "application.yml"),
        "-i",
        str(lab.inventory),
        "-e",
        json.dumps({"incident_id": f"bench-{time.time_ns()}", "incident_reason": "benchmark"}),
    ]


def _environment() -> dict[str, str]:
    return ansible_environment(os.environ, collections_root())


def _wrapper_argv(*argv: str) -> list[str]:
    return [sys.executable, "-m", "rollback_playbook", *argv]


def _command(*argv: str) -> None:
    subprocess.run(_wrapper_argv(*argv), check=True, capture_output=True)


def _seconds(argv: list[str], environment: dict[str, str]) -> float:
    """How long it took; a run that did not end well is no measurement."""
    started = time.monotonic()
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{argv[:3]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - started


def _run_seconds(state: Path) -> float:
    """What the record says of the scenario's own run: the last one in it."""
    record = max((state / "incidents").iterdir()) / "events.jsonl"
    events = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    runs = [event["data"] for event in events if event["type"] == "run.finished"]
    return float(runs[-1]["seconds"])


if __name__ == "__main__":
    main()
