"""The cost of the command line: application on the lab through it, and under plain Ansible.

    python benchmarks/scenario_overhead.py [ROUNDS]

Both roll back the same bad release, in turns. Two times of the command line are printed: of its
run of the playbook, which is what the other one is compared with, and of the whole command, which
also resolves hosts, looks ahead with Assess, and writes the report.
"""

from __future__ import annotations

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
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="rollback-bench-") as name:
        Path(name).chmod(0o755)
        lab, state = Lab(Path(name) / "lab"), Path(name) / "state"
        os.environ |= {
            "ROLLBACK_LAB_DIR": str(lab.directory),
            "ROLLBACK_PLAYBOOK_STATE_DIR": str(state),
        }
        _command("lab", "up", "--scale", "0.02")
        try:
            _measure(lab, state, rounds)
        finally:
            _command("lab", "down", "--purge")


def _measure(lab: Lab, state: Path, rounds: int) -> None:
    plain, run, whole = [], [], []
    for _ in range(rounds):
        _break(lab)
        plain.append(_seconds(_plain_argv(lab), _environment()))
        _break(lab)
        whole.append(_seconds(_wrapper_argv("application", "-i", "lab"), dict(os.environ)))
        run.append(_run_seconds(state))
    print(f"application on the lab, median of {rounds} rounds")
    print(f"  plain ansible-playbook         {median(plain):6.2f} s")
    ratio = median(run) / median(plain)
    print(f"  the same run, command line     {median(run):6.2f} s   {ratio:.2f} x (target 1.10 x)")
    print(f"  the whole command              {median(whole):6.2f} s")


def _break(lab: Lab) -> None:
    lifecycle.break_release(lab.directory, migrate=False)


def _plain_argv(lab: Lab) -> list[str]:
    return [
        str(Path(sys.executable).parent / "ansible-playbook"),
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
