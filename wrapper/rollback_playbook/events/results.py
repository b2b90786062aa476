"""What a module's result says: the facts of its task, its undo, its gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollback_playbook.events.model import Draft
from rollback_playbook.events.pruning import MAX_ITEMS, bounded, pruned_result

COLLECTION = "sre.rollback."
_CENSORED = "the output has been hidden due to the fact that 'no_log: true'"
_ASYNC_STATUS = ("ansible.builtin.async_status", "async_status")
_SET_FACT = ("ansible.builtin.set_fact", "set_fact")
GATE = COLLECTION + "health_gate"
#: Modules that only look how far something is, again and again until it has ended.
PROGRESS = frozenset({COLLECTION + "restore_progress"})


def result_data(data: Mapping[str, Any], status: str) -> dict[str, Any]:
    """Status, duration and result of a task, an item or a retry."""
    result = _result(data)
    body: dict[str, Any] = {"status": _status(status, result)}
    if data.get("duration") is not None:
        body["seconds"] = data["duration"]
    if data.get("ignore_errors") and body["status"] == "failed":
        body["ignored"] = True
    if "item" in result:
        body["item"] = result["item"]
    if is_blanked(data, status):
        body["blanked"] = True
    if is_censored(result):
        body["censored"] = True
    body.update(_warnings(result))
    body.update(_arguments(result, body["status"]))
    body["result"] = {} if is_censored(result) else pruned_result(_without_items(result))
    return bounded(body)


def progress_data(task: Mapping[str, Any], host: str) -> dict[str, Any]:
    """``progress.reported``: how far a long task is, from one look at it."""
    result = task["result"]
    figures = ("percent", "bytes_done", "bytes_total", "remaining")
    return {
        "host": host,
        "task": task["task"],
        "phase": task["phase"],
        "step": result.get("phase", ""),
        **{name: result[name] for name in figures if name in result},
    }


def is_loop(data: Mapping[str, Any]) -> bool:
    """Whether the result is that of a loop, which repeats what its items said before."""
    items = _result(data).get("results")
    return isinstance(items, list) and bool(items) and all(map(_is_item, items))


def _is_item(item: Any) -> bool:
    return isinstance(item, Mapping) and ("ansible_loop_var" in item or _is_censored_item(item))


def _without_items(result: Mapping[str, Any]) -> Mapping[str, Any]:
    if not is_loop({"res": result}):
        return result
    return {**result, "results": f"[{len(result['results'])} items, recorded one by one]"}


def is_blanked(data: Mapping[str, Any], status: str) -> bool:
    """Whether ansible-runner threw the result away: an empty ``res`` beyond 700,000 characters.

    A result that is there always says at least whether it changed anything; skipped ones come
    without any (awx_display.py, ``get_begin_dict`` and ``v2_runner_on_skipped``).
    """
    return status in ("ok", "failed") and not data.get("res")


def is_censored(result: Mapping[str, Any]) -> bool:
    """Whether ``no_log`` hid the result, or every result of a loop."""
    if str(result.get("censored", "")).startswith(_CENSORED):
        return True
    items = result.get("results")
    return isinstance(items, list) and bool(items) and all(map(_is_censored_item, items))


def _is_censored_item(item: Any) -> bool:
    return isinstance(item, Mapping) and str(item.get("censored", "")).startswith(_CENSORED)


def undo_drafts(finished: Draft, data: Mapping[str, Any]) -> list[Draft]:
    """``undo.recorded`` when a module of ours, or a job it ran in, told how to take it back.

    A task in check mode (``check_mode: true`` with ``changed_when: false``) tells it before
    anything is done: that is ``predicted``. One that failed half-way has something to take back,
    whatever it says of having changed anything. A backend without modules of its own says it with
    a fact named ``rollback_undo``, set before the step.
    """
    action = finished.data["action"]
    status = finished.data["status"]
    undo = _undo_in(action, _result(data))
    if undo is None or status not in ("ok", "changed", "failed"):
        return []
    body = {
        "module": undo["module"],
        "args": undo["args"],
        "host": finished.subject,
        "task": finished.data["task"],
        "phase": finished.data["phase"],
        "of": action,
    }
    if status == "ok":
        body["predicted"] = True
    return [_beside(finished, "undo.recorded", body)]


def _undo_in(action: str, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if action in _SET_FACT:
        facts = result.get("ansible_facts")
        undo = facts.get("rollback_undo") if isinstance(facts, Mapping) else None
    elif action.startswith(COLLECTION) or action in _ASYNC_STATUS:
        undo = result.get("undo")
    else:
        return None
    return undo if is_undo(undo) else None


def is_undo(undo: Any) -> bool:
    """Whether ``undo`` names a module and its arguments."""
    return (
        isinstance(undo, Mapping)
        and isinstance(undo.get("module"), str)
        and isinstance(undo.get("args"), Mapping)
    )


def gate_drafts(finished: Draft, data: Mapping[str, Any]) -> list[Draft]:
    """``gate.passed`` or ``gate.failed`` with the samples of each check.

    A gate that only says what it would ask, as in check mode, has decided nothing.
    """
    status = finished.data["status"]
    if finished.data["action"] != GATE or status in ("skipped", "unreachable"):
        return []
    passed = status != "failed"
    if passed and _result(data).get("outcome", "passed") != "passed":
        return []
    body = {
        "gate": finished.data["task"],
        "phase": finished.data["phase"],
        "host": finished.subject,
        **pruned_result(_result(data)),
    }
    checks = body.get("checks")
    if isinstance(checks, list):
        # Sorting is stable: what did not pass comes first and is not what gets cut.
        body["checks"] = sorted(checks, key=_passed) if len(checks) > MAX_ITEMS else checks
    return [_beside(finished, "gate.passed" if passed else "gate.failed", bounded(body))]


def _passed(check: Any) -> bool:
    return isinstance(check, Mapping) and check.get("state") == "passed"


def _beside(finished: Draft, type_: str, body: dict[str, Any]) -> Draft:
    return Draft(
        type=type_,
        data=body,
        subject=finished.subject,
        time=finished.time,
        counter=finished.counter,
        sync=True,
    )


def _result(data: Mapping[str, Any]) -> Mapping[str, Any]:
    result = data.get("res")
    return result if isinstance(result, Mapping) else {}


def _status(status: str, result: Mapping[str, Any]) -> str:
    return "changed" if status == "ok" and result.get("changed") else status


def _warnings(result: Mapping[str, Any]) -> dict[str, Any]:
    found = [str(each) for each in result.get("warnings") or ()]
    return {"warnings": found} if found else {}


def _arguments(result: Mapping[str, Any], status: str) -> dict[str, Any]:
    """What the module was told, where it did something or failed; Ansible hides ``no_log``."""
    invocation = result.get("invocation")
    if status not in ("changed", "failed") or not isinstance(invocation, Mapping):
        return {}
    arguments = invocation.get("module_args")
    if not isinstance(arguments, Mapping):
        return {}
    given = {key: value for key, value in arguments.items() if value not in (None, "", [], {})}
    return {"arguments": given} if given else {}
