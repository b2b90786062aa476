"""The command line killed in the middle: whole record, no process left, continue or undo mends it.

Every round waits for a random event of the run and sends one signal then, or closes the terminal.
``ROLLBACK_KILL_ROUNDS`` and ``ROLLBACK_KILL_SEED`` choose how many rounds the attack has and which.
"""

from __future__ import annotations

import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.execution import reaper
from rollback_playbook.lab import lifecycle, seeding
from rollback_playbook.lab.places import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.drill, pytest.mark.timeout(3600)]

_SCALE = "0.02"
_DEADLINE_SECONDS = 900.0
_WAYS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "closed terminal")
#: What a run is sure to write, and so can be killed at.
_MOMENTS = (
    "Declare", "Protect", "Assess", "Preserve", "Prepare", "Pause", "Switch", "Verify", "Resume",
    "Confirm", "Close",
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """Somebody with the command line and a lab of their own."""

    lab: Lab
    state_dir: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ROLLBACK_LAB_DIR": str(self.lab.directory),
            "ROLLBACK_PLAYBOOK_STATE_DIR": str(self.state_dir),
        }

    def types(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rollback_playbook", *argv],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def newest(self) -> Path:
        return max((self.state_dir / "incidents").iterdir())

    def listed(self) -> dict[str, Any]:
        """The newest incident as ``incidents list`` has it."""
        rows = json.loads(self.types("incidents", "list", "--json").stdout)
        return next(row for row in rows if row["id"] == self.newest().name)

    def health(self) -> dict[str, Any]:
        return lifecycle.status(self.lab.directory).health

    def users_get(self) -> str:
        port = self.lab.state().ports["nginx"]
        return str(lifecycle.ask(port, "/health").get("status", "maintenance"))

    def orders(self) -> int:
        """Orders in the live database and in every one that was put aside."""
        with seeding.connect(self.lab.state(), "postgres") as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'shop%' "
                "AND datname NOT LIKE '%staged%' AND datallowconn"
            ).fetchall()
        return max(self._orders_in(str(name)) for (name,) in names)

    def _orders_in(self, database: str) -> int:
        with seeding.connect(self.lab.state(), database) as connection:
            row = connection.execute("SELECT count(*) FROM orders").fetchone()
        return int(str(row[0])) if row else 0


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    directory = Path(tempfile.mkdtemp(prefix="rollback-kill-"))
    directory.chmod(0o755)
    someone = Person(Lab(directory / "lab"), directory / "state")
    started = someone.types("lab", "up", "--scale", _SCALE)
    assert started.returncode == 0, started.stderr
    _know_soon(someone.lab)
    yield someone
    someone.types("lab", "down", "--purge")
    shutil.rmtree(directory)


def _know_soon(lab: Lab) -> None:
    """The gate of an undo is red, and a test need not wait a minute to see it."""
    path = lab.inventory / "group_vars" / "all" / "verify.yml"
    text = path.read_text(encoding="utf-8").replace("verify_hold: 3\n", "verify_hold: 0.5\n")
    path.write_text(text.replace("verify_deadline: 60\n", "verify_deadline: 20\n"))


def _rounds(count: int, seed: int) -> list[Any]:
    chooser = random.Random(seed)  # noqa: S311 - which rounds, not a secret
    return [
        pytest.param(
            way := chooser.choice(_WAYS),
            moment := chooser.choice(_MOMENTS),
            chooser.randrange(6),
            mend := chooser.choice(("continue", "undo")),
            id=f"{number}: {way} in {moment}, then {mend}",
        )
        for number in range(count)
    ]


_SURE = [
    pytest.param("SIGKILL", "Switch", 2, "continue", id="SIGKILL in Switch, then continue"),
    pytest.param(
        "SIGKILL",
        "Switch",
        4,
        "undo",
        id="SIGKILL in Switch, then undo",
        marks=pytest.mark.attack,
    ),
    pytest.param(
        "SIGTERM",
        "Pause",
        1,
        "continue",
        id="SIGTERM in Pause, then continue",
        marks=pytest.mark.attack,
    ),
    pytest.param(
        "closed terminal",
        "Prepare",
        1,
        "undo",
        id="closed terminal in Prepare",
        marks=pytest.mark.attack,
    ),
]


@pytest.mark.parametrize(("way", "moment", "tasks", "mend"), _SURE)
def test_run_that_was_ended_in_the_middle_is_mended(
    person: Person, way: str, moment: str, tasks: int, mend: str
) -> None:
    _round(person, way, moment, tasks, mend)


@pytest.mark.attack
@pytest.mark.parametrize(
    ("way", "moment", "tasks", "mend"),
    _rounds(
        int(os.environ.get("ROLLBACK_KILL_ROUNDS", "100")),
        int(os.environ.get("ROLLBACK_KILL_SEED", "1")),
    ),
)
def test_run_that_was_ended_at_a_random_moment_is_mended(
    person: Person, way: str, moment: str, tasks: int, mend: str
) -> None:
    _round(person, way, moment, tasks, mend)


def _round(person: Person, way: str, moment: str, tasks: int, mend: str) -> None:
    _mended(person)
    lifecycle.break_release(person.lab.directory)
    orders, release = person.orders(), person.health()["release"]

    code = _full_ended_by(person, way, moment, tasks)

    assert _processes_left(person) == []
    verified = person.types("incidents", "verify", "last")
    assert "integrity: as it was written" in verified.stdout, verified.stdout
    incident, state = person.newest().name, person.listed()["state"]
    if way == "SIGKILL":
        assert code == -signal.SIGKILL
        assert state == "interrupted"
    if state != "healthy":
        _no_second_run(person, state)
    _mend(person, mend, incident, state, release)
    assert person.orders() >= orders
    assert _processes_left(person) == []


def _mend(person: Person, mend: str, incident: str, state: str, release: str) -> None:
    """Continue ends healthy; undo ends with what there was before, which is broken."""
    if state == "healthy" and mend == "continue":
        return
    done = person.types(mend, incident, "--yes")
    words = done.stderr[-3000:]
    if mend == "continue":
        assert done.returncode == 0, words
        assert person.health() == {"status": "ok", "release": "1.0.0", "schema": 1}
        assert person.users_get() == "ok"
    elif "left nothing that could be taken back" in words:
        assert done.returncode == 3, words
    else:
        assert done.returncode == 5, words
        assert "taken back, but not proved healthy" in words
        assert person.health()["release"] == release
    assert person.types("incidents", "verify", "last").returncode in (0, 6)


def _no_second_run(person: Person, state: str) -> None:
    """What was killed before it changed anything, or was refused, stands in nobody's way."""
    summary = json.loads(person.types("incidents", "show", "last", "--json").stdout)
    changed = {phase["name"] for phase in summary["phases"]} & {"Protect", "Pause", "Switch"}
    if state == "interrupted" and changed:
        second = person.types("full", "-i", "lab")
        assert second.returncode == 3, second.stderr
        assert "nothing was changed" in second.stderr


def _mended(person: Person) -> None:
    if person.health().get("schema") == 1 and person.users_get() == "ok":
        return
    done = person.types("full", "-i", "lab", "--take-over", "--reason", "between two rounds")
    assert done.returncode == 0, done.stderr[-3000:]


def _full_ended_by(person: Person, way: str, moment: str, tasks: int) -> int:
    """The exit code of a run that got the signal after this many tasks of the phase."""
    before = set((person.state_dir / "incidents").iterdir())
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rollback_playbook", "full", "-i", "lab"],
        env={**person.environment, "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(follower)
    terminal = _Terminal(leader)
    try:
        _wait_until(lambda: process.poll() is not None or _reached(person, before, moment, tasks))
        if way == "closed terminal":
            terminal.close()
        else:
            with suppress(ProcessLookupError):
                process.send_signal(getattr(signal, way))
        return process.wait(timeout=_DEADLINE_SECONDS)
    finally:
        process.kill()
        process.wait()
        terminal.close()


def _take_terminal() -> None:
    """The terminal controls the process, so that closing it is what a lost connection is."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class _Terminal:
    """Reads what the screen draws, as a person's terminal does, until it is closed."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _read(self) -> None:
        os.set_blocking(self._leader, False)
        while not self._closed.wait(0.02):
            with suppress(BlockingIOError, OSError):
                os.read(self._leader, 65536)
        os.close(self._leader)


def _reached(person: Person, before: set[Path], moment: str, tasks: int) -> bool:
    """Whether the scenario itself, not the look ahead, has come so far in its phase."""
    new = set((person.state_dir / "incidents").iterdir()) - before
    if not new:
        return False
    with suppress(OSError):
        text = (new.pop() / "events.jsonl").read_text(encoding="utf-8", errors="replace")
        _, _, run = text.partition('"type":"approval.granted"')
        _, begun, phase = run.partition(f'"name":"{moment}","pattern"')
        return bool(begun) and phase.count('"type":"task.started"') >= tasks
    return False


def _processes_left(person: Person) -> list[str]:
    """Processes of any run of this person's lab, given a moment to be ended by the watch."""
    deadline = time.monotonic() + 60
    while left := list(_marked(person)):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.2)
    return []


def _marked(person: Person) -> Iterator[str]:
    wanted = os.fsencode(str(person.lab.directory))
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes()
            if (
                reaper.MARK.encode() in environment
                and wanted in environment + (process / "cmdline").read_bytes()
            ):
                yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.attack
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small tmpfs")
def test_disk_that_fills_up_during_a_run_is_said_and_the_rollback_ends_healthy(
    person: Person, tmp_path: Path
) -> None:
    _mended(person)
    lifecycle.break_release(person.lab.directory)
    small = Person(person.lab, tmp_path / "small")
    small.state_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", str(small.state_dir)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        done = small.types("full", "-i", "lab")
        assert done.returncode == 6, done.stderr[-3000:]
        assert "rolled back and healthy; but the record is incomplete" in done.stderr
        assert "No space left on device" in done.stderr
        assert person.health() == {"status": "ok", "release": "1.0.0", "schema": 1}
        assert person.users_get() == "ok"
        assert "integrity" in small.types("incidents", "verify", "last").stdout
    finally:
        subprocess.run(["umount", str(small.state_dir)], check=False)
