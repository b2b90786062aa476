"""Ask Ansible which hosts a scenario reaches; a program of its own, started by ``plan.hosts``.

Ansible keeps its configuration, display and plugin loader in module-level state, and prints what
it finds odd: in a process of its own neither reaches the command line.

Standard input: ``{inventory, patterns: [..], limit, vault: [..]}``. Standard output: the answer.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollback_playbook.plan.vaulted import PlainVariables


def main() -> None:
    """Answer one question, or print ``{"error": ...}``."""
    question = json.load(sys.stdin)
    from ansible.errors import AnsibleError

    try:
        answer = _answer(question)
    except AnsibleError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.vars.manager import VariableManager

    from rollback_playbook.plan.vaulted import PlainVariables, open_vault, secrets_of_files

    init_plugin_loader()
    loader = DataLoader()
    plain = PlainVariables(opened=open_vault(loader))
    inventory = InventoryManager(loader=loader, sources=[question["inventory"]])
    variables = VariableManager(loader=loader, inventory=inventory)
    unmatched = _unmatched(inventory, [question["limit"]] if question["limit"] else [])
    if question["limit"] and not unmatched:
        inventory.subset(question["limit"])
    patterns = {pattern: _names(inventory, pattern) for pattern in question["patterns"]}
    hosts = {name for names in patterns.values() for name in names} - {"localhost"}
    found = {name: _variables(inventory, variables, name, plain) for name in sorted(hosts)}
    return {
        "limit_unmatched": unmatched,
        "unmatched": {
            pattern: missing
            for pattern in question["patterns"]
            if (missing := _unmatched(inventory, [pattern]))
        },
        "left_out": {
            pattern: parts
            for pattern in question["patterns"]
            if (parts := _left_out(inventory, pattern))
        },
        "patterns": patterns,
        "groups": {
            name: [host.name for host in g.get_hosts()] for name, g in inventory.groups.items()
        },
        "variables": found,
        "vaulted": sorted(plain.vaulted | secrets_of_files(question["inventory"], loader)),
    }


def _names(inventory: Any, pattern: str) -> list[str]:
    return [host.name for host in inventory.get_hosts(pattern)]


def _unmatched(inventory: Any, patterns: list[str]) -> list[str]:
    """The parts of the patterns that match no host at all, exclusions and intersections apart."""
    from ansible.inventory.manager import split_host_pattern

    parts = [part for pattern in patterns for part in split_host_pattern(pattern)]
    positive = [part for part in parts if part and part[0] not in "!&@"]
    return [part for part in positive if not inventory.get_hosts(part, ignore_limits=True)]


def _left_out(inventory: Any, pattern: str) -> list[str]:
    """The parts of the pattern of which the limit leaves no host."""
    from ansible.inventory.manager import split_host_pattern

    parts = [part for part in split_host_pattern(pattern) if part and part[0] not in "!&@"]
    return [
        part
        for part in parts
        if inventory.get_hosts(part, ignore_limits=True) and not inventory.get_hosts(part)
    ]


def _variables(inventory: Any, variables: Any, name: str, plain: PlainVariables) -> dict[str, Any]:
    found = variables.get_vars(host=inventory.get_host(name), include_hostvars=False)
    internal = ("groups", "group_names", "omit", "playbook_dir", "role_names")
    return {
        key: plain.value(value, key)
        for key, value in found.items()
        if not key.startswith("ansible_") and key not in internal
    }


if __name__ == "__main__":
    main()
