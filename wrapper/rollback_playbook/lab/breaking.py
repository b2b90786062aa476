"""Break the lab as production breaks, and take every fault out of it again."""

from __future__ import annotations

from pathlib import Path

from rollback_playbook.errors import RefusedError, UsageError
from rollback_playbook.lab import processes, supervision
from rollback_playbook.lab.claim import claimed
from rollback_playbook.lab.faults import FAULTS, Fault
from rollback_playbook.lab.places import Lab


def fault_named(name: str) -> Fault:
    """Raises UsageError with the names that there are."""
    found = next((fault for fault in FAULTS if fault.name == name), None)
    if found is None:
        raise UsageError(
            f"there is no fault named {name!r}",
            hint="one of " + ", ".join(fault.name for fault in FAULTS),
        )
    return found


def fault_for(scenario: str) -> Fault:
    """The fault that a drill of this scenario causes; raises UsageError when there is none."""
    found = next((fault for fault in FAULTS if scenario in fault.scenarios), None)
    if found is None:
        known = sorted(name for fault in FAULTS for name in fault.scenarios)
        raise UsageError(
            f"the lab has no fault that {scenario} mends",
            hint=f"it has one for {', '.join(known)}; with -i an environment that says how it is "
            "broken",
        )
    return found


def break_lab(directory: Path, fault: Fault) -> list[str]:
    """Cause a fault; what is wrong now, as somebody outside sees it.

    Raises RefusedError when the lab is not up, RollbackError when nothing is wrong afterwards.
    """
    lab = Lab(directory)
    with claimed(directory):
        if not supervision.supervisor_answers(lab.state()):
            raise RefusedError(
                f"the lab in {directory} is not up; nothing was changed",
                hint="rollback-playbook lab up",
            )
        fault.cause(lab)
    found: list[str] = []
    processes.wait_until(
        f"{fault.title}: no symptom of the fault is left",
        lambda: bool(_note(found, fault.symptoms(lab))),
    )
    return found


def _note(found: list[str], symptoms: list[str]) -> list[str]:
    found[:] = symptoms
    return found
