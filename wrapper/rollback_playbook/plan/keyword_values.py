"""What the inventory says of variables in play keywords, for Ansible to be given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollback_playbook.catalogue.scenarios import Scenario
from rollback_playbook.errors import RefusedError
from rollback_playbook.plan.hosts import ResolvedHosts


def keyword_values(
    scenario: Scenario, hosts: ResolvedHosts, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Values by name, without those of ``given``.

    Raises RefusedError where a value differs between hosts, since a play has one for all of them,
    and where it is a template, which Ansible could not fill in there.
    """
    values: dict[str, Any] = {}
    for name in sorted(scenario.keyword_variables - set(given)):
        said = {
            host: variables[name]
            for host, variables in hosts.variables.items()
            if variables.get(name) is not None
        }
        if said:
            values[name] = _one(name, said)
    return values


def _one(name: str, said: Mapping[str, Any]) -> Any:
    by_value: dict[str, str] = {}
    for host, each in said.items():
        by_value.setdefault(str(each), host)
    first, value = next(iter(said.items()))
    if len(by_value) > 1:
        texts = " and ".join(f"{text} on {host}" for text, host in sorted(by_value.items()))
        raise RefusedError(
            f"the inventory says {name} is {texts}; it has to be one for all hosts; "
            "nothing was changed",
            hint=f"say one in the inventory, or -e {name}={value}",
        )
    if "{{" in str(value):
        raise RefusedError(
            f"{name} is a template on {first}, {value}: it is needed before any host's variables "
            "are read; nothing was changed",
            hint=f"write the value into the inventory, or -e {name}=…",
        )
    return value
