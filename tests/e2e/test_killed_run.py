"""The command line killed in the middle: whole record, no process left, continue or undo mends it.

Each case hits one incident again and again: a run is ended at a random event of the record, the
incident is continued, and that is ended in a later phase. After every blow the record, the list of
incidents and the processes are looked at; the last one is mended, or goes on to its end by itself.
``ROLLBACK_KILL_CASES`` and ``ROLLBACK_KILL_SEED`` choose how many cases the attack has and which.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.lab import lifecycle, seeding
from rollback_playbook.lab.places import Lab
from rollback_playbook.record.folder import IncidentFolder, incident_folders
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.listing import list_incidents
from rollback_playbook.record.verification import verify
from tests.e2e.conftest import Operator
from tests.e2e.killing import (
    PASSED_OVER,
    Blow,
    kind_of_events,
    processes_left,
    random_blows,
    types_and_is_hit,
)

pytestmark = [pytest.mark.e2e, pytest.mark.drill, pytest.mark.timeout(3600)]

_SCALE = "0.02"
#: ``pytest --log-cli-level INFO`` shows every blow and how it ended.
_LOG = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def person() -> Iterator[Operator]:
    """Somebody with a lab of their own: what others do with theirs must not end here."""
    directory = Path(tempfile.mkdtemp(prefix="rollback-kill-"))
    directory.chmod(0o755)
    someone = Operator(Lab(directory / "lab"), directory / "state")
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


_SURE = [
    pytest.param([Blow("SIGKILL", "Switch", 2)], "continue", id="killed, then continued"),
    pytest.param([Blow("SIGKILL", "Switch", 4)], "undo", id="killed, then undone"),
    pytest.param(
        [Blow("SIGTERM", "Pause", 1), Blow("Ctrl-C", "Verify", 1), Blow("SIGKILL", "Close", 0)],
        "continue",
        id="stopped twice and killed at its end, then continued",
    ),
    pytest.param(
        [Blow("closed terminal", "Prepare", 1)],
        "undo",
        id="closed terminal",
        marks=pytest.mark.drill,
    ),
]


def _random_cases(count: int, seed: int) -> list[Any]:
    cases = []
    for number in range(count):
        chooser = random.Random(seed * 1000 + number)  # noqa: S311 - which cases, not a secret
        blows, mend = random_blows(chooser), chooser.choice(("continue", "undo"))
        name = f"{number}: {', '.join(map(str, blows))}, then {mend}"
        cases.append(pytest.param(blows, mend, id=name))
    return cases


@pytest.mark.parametrize(("blows", "mend"), _SURE)
def test_run_that_was_ended_in_the_middle_is_mended(
    person: Operator, blows: list[Blow], mend: str
) -> None:
    _case(person, blows, mend)


@pytest.mark.attack
@pytest.mark.parametrize(
    ("blows", "mend"),
    _random_cases(
        int(os.environ.get("ROLLBACK_KILL_CASES", "25")),
        int(os.environ.get("ROLLBACK_KILL_SEED", "1")),
    ),
)
def test_run_that_was_ended_at_random_moments_is_mended(
    person: Operator, blows: list[Blow], mend: str
) -> None:
    _case(person, blows, mend)


def _case(person: Operator, blows: list[Blow], mend: str) -> None:
    argv = ["full", "-i", "lab", *_broken(person)]
    orders, release = _orders(person), person.health()["release"]
    kills = 0
    for blow in blows:
        code = types_and_is_hit(person, argv, blow)
        incident = _newest(person)
        kills += code == -signal.SIGKILL
        state = _looked_at(person, incident, blow, code, kills)
        _LOG.info("%s: exit code %s, %s", blow, code, state)
        if state == "healthy":
            break
        argv = ["continue", incident.id]
    _mend(person, mend, incident, state, release)
    assert _orders(person) >= orders
    assert processes_left(person) == []


def _broken(person: Operator) -> list[str]:
    """The bad release runs; after an undo it does so already, and the undo's lock is taken over."""
    if person.health().get("schema") == 1 and person.users_get() == "ok":
        lifecycle.break_release(person.lab.directory)
        return []
    return ["--take-over", "--reason", "after an undo"]


def _newest(person: Operator) -> IncidentFolder:
    return incident_folders(person.state_dir / "incidents")[0]


def _looked_at(
    person: Operator, incident: IncidentFolder, blow: Blow, code: int, kills: int
) -> str:
    """What must hold after every blow; the state in which the incident is listed.

    A run that was killed cannot say how many events it had, and nothing else may be missing.
    """
    assert processes_left(person) == []
    verified = verify(incident, Keyring(person.state_dir / "keys"))
    assert verified.intact, verified.findings
    recorded = verified.completeness
    assert (recorded.missing, recorded.blanked, recorded.handler_failures) == ((), 0, 0)
    assert recorded.open_runs <= kills
    entry = list_incidents(person.state_dir / "incidents")[0]
    assert entry.id == incident.id
    if code == -signal.SIGKILL:
        assert (blow.way, entry.state, entry.exit_code) == ("SIGKILL", "interrupted", None)
    else:
        assert entry.exit_code == code
    if blow.way in PASSED_OVER:
        assert entry.state == "healthy", entry.summary
    if entry.state == "interrupted" and _has_changed(incident):
        _no_second_run(person)
    return entry.state


def _has_changed(incident: IncidentFolder) -> bool:
    """What was ended before it changed anything stands in nobody's way."""
    begun = {str(data["name"]) for data in kind_of_events(incident.path, "phase.started")}
    return bool(begun & {"Protect", "Pause", "Switch"})


def _no_second_run(person: Operator) -> None:
    second = person.types("full", "-i", "lab")
    assert second.returncode == 3, second.stderr
    assert "nothing was changed" in second.stderr


def _mend(person: Operator, mend: str, incident: IncidentFolder, state: str, release: str) -> None:
    """Continue ends healthy; undo ends with what there was before, which is broken."""
    if state == "healthy" and mend == "continue":
        _is_healthy(person)
        return
    done = person.types(mend, incident.id, "--yes")
    words = done.stderr[-3000:]
    if mend == "continue":
        assert done.returncode == 0, words
        _is_healthy(person)
    elif "left nothing that could be taken back" in words:
        assert done.returncode == 3, words
    else:
        assert done.returncode == 5, words
        assert "taken back, but not proved healthy" in words
        assert person.health()["release"] == release
        assert _holder(person) is None
    assert person.types("incidents", "verify", "last").returncode in (0, 6)


def _holder(person: Operator) -> str | None:
    """Who has the environment: an undo that has taken everything back gives it back."""
    lease = json.loads((person.lab.directory / "locks" / "lab.json").read_text(encoding="utf-8"))
    return lease["holder"] or None


def _is_healthy(person: Operator) -> None:
    assert person.health() == {"status": "ok", "release": "1.0.0", "schema": 1}
    assert person.users_get() == "ok"


def _orders(person: Operator) -> int:
    """Orders in the live database and in every one that was put aside."""
    with seeding.connect(person.lab.state(), "postgres") as connection:
        names = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'shop%' "
            "AND datname NOT LIKE '%staged%' AND datallowconn"
        ).fetchall()
    return max(_orders_in(person, str(name)) for (name,) in names)


def _orders_in(person: Operator, database: str) -> int:
    with seeding.connect(person.lab.state(), database) as connection:
        row = connection.execute("SELECT count(*) FROM orders").fetchone()
    return int(str(row[0])) if row else 0
