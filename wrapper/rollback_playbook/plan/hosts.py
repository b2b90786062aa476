"""Which hosts a scenario reaches in an environment; a pattern that matches nothing is refused."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollback_playbook.approval.confirmation import protection_of
from rollback_playbook.errors import RefusedError, UsageError

_TIMEOUT_SECONDS = 120
#: What is done on other hosts is whole without them: users are let through.
_SPARED = frozenset({"proxy"})


@dataclass(frozen=True)
class ResolvedHosts:
    """The hosts of every pattern, and the plain (untemplated) variables of every host.

    ``vaulted`` has the texts that a vault kept secret: the redaction has to know them.
    """

    by_pattern: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[str, ...]]
    variables: Mapping[str, Mapping[str, Any]]
    vaulted: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All hosts that any play reaches, sorted."""
        return tuple(sorted(self.variables))

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change when the set of hosts does."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:8]

    def variable(self, name: str) -> Any:
        """The variable's value on the first host that has it, else None."""
        for variables in self.variables.values():
            if name in variables:
                return variables[name]
        return None

    @property
    def said(self) -> Mapping[str, Any]:
        """Every variable that says something on a host, with what it says on one of them."""
        return {
            name: value
            for variables in self.variables.values()
            for name, value in variables.items()
            if value
        }

    @property
    def protected(self) -> bool | None:
        """What ``rollback_protected`` says; True when any host says so, None when one is silent."""
        said = {
            protection_of(variables.get("rollback_protected"))
            for variables in self.variables.values()
        }
        if True in said:
            return True
        return False if said == {False} else None


def resolve_hosts(
    inventory: str,
    patterns: Sequence[str],
    limit: str,
    *,
    environment: Mapping[str, str],
    may_lack: Collection[str] = (),
) -> ResolvedHosts:
    """Ask Ansible.

    A group of ``may_lack`` that the inventory declares without hosts is no error: that says that
    there is none of them. One that it does not declare at all may be misspelt.

    Raises UsageError when the inventory cannot be read or a part of the limit matches nothing,
    and RefusedError when a part of a play's pattern matches nothing: Ansible itself only warns,
    and a play without hosts ends with exit code 0.
    """
    question = {"inventory": inventory, "patterns": list(dict.fromkeys(patterns)), "limit": limit}
    answer = _ask(question, environment)
    if "error" in answer:
        raise UsageError(f"the inventory {inventory} cannot be read: {answer['error']}")
    if answer["limit_unmatched"]:
        raise UsageError(
            f"--limit {limit!r}: {_quoted(answer['limit_unmatched'])} matches no host",
            hint=f"hosts and groups here: {', '.join(_known(answer))}",
        )
    if answer["unmatched"]:
        _refuse_unmatched(answer, inventory, may_lack)
    empty = [pattern for pattern, names in answer["patterns"].items() if not names]
    if empty:
        raise RefusedError(
            f"no host is left for {_quoted(empty)}"
            + (f" under --limit {limit!r}" if limit else "")
            + "; nothing was changed",
            hint="every phase of a scenario needs at least one host",
        )
    _refuse_left_out(answer, limit, may_lack)
    return ResolvedHosts(
        by_pattern={key: tuple(names) for key, names in answer["patterns"].items()},
        groups={key: tuple(names) for key, names in answer["groups"].items()},
        variables=answer["variables"],
        vaulted=tuple(answer["vaulted"]),
    )


def _refuse_left_out(answer: Mapping[str, Any], limit: str, may_lack: Collection[str]) -> None:
    """Raises RefusedError: half of a scenario would be done, and be told as the whole."""
    parts = dict.fromkeys(part for parts in answer["left_out"].values() for part in parts)
    needed = [part for part in parts if part not in may_lack and part not in _SPARED]
    if needed:
        raise RefusedError(
            f"--limit {limit!r} leaves out every host of {_quoted(needed)}, which the scenario "
            "needs; nothing was changed",
            hint="take one of them in, or choose a scenario that does without",
        )


def _refuse_unmatched(answer: Mapping[str, Any], inventory: str, may_lack: Collection[str]) -> None:
    """Raises RefusedError, but for groups that are left out on purpose."""
    for pattern, parts in answer["unmatched"].items():
        missing = [part for part in parts if part not in may_lack or part not in answer["groups"]]
        if not missing:
            continue
        known = f"hosts and groups here: {', '.join(_known(answer))}"
        absent = [part for part in missing if part in may_lack]
        if absent == missing:
            known += f". Where there is no {absent[0]}, say so: `{absent[0]}: {{hosts: {{}}}}`"
        raise RefusedError(
            f"the scenario needs hosts {pattern!r}, but {_quoted(missing)} matches none in "
            f"{inventory}; nothing was changed",
            hint=known,
        )


def _ask(question: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """A terminal that is lost ends who is asked, and not us: then it is asked once more."""
    done = _asked(question, environment)
    if done.returncode == -signal.SIGHUP:
        done = _asked(question, environment)
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "?"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _asked(
    question: Mapping[str, Any], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rollback_playbook.plan.inventory_probe"],
        input=json.dumps(question),
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )


def _known(answer: Mapping[str, Any]) -> list[str]:
    groups = [name for name in answer["groups"] if name not in ("all", "ungrouped")]
    hosts = {host for names in answer["groups"].values() for host in names}
    return [*sorted(groups), *sorted(hosts)][:20]


def _quoted(parts: Sequence[str]) -> str:
    return " and ".join(repr(part) for part in parts)
