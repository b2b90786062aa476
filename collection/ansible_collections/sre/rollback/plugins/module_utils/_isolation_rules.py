# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What comes in and goes out of an isolated host, as rules of nftables.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

TABLE = "rollback_isolation"
# Without these a host loses its address, or is not found by its neighbours on the same link.
_ADDRESSES = {
    "input": [
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept",
        "udp sport 67 udp dport 68 accept",
        "udp sport 547 udp dport 546 accept",
        # An SSH connection through a tunnel hangs without.
        "icmp type destination-unreachable icmp code frag-needed accept",
        "icmpv6 type packet-too-big accept",
    ],
    "output": [
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept",
        "udp sport 68 udp dport 67 accept",
        "udp sport 546 udp dport 547 accept",
    ],
}


class IsolationError(RollbackError):
    """The host could not be closed or opened."""


def peers(operator: str, allow: t.Iterable[str]) -> tuple[str, list[str]]:
    """The operator's address and the networks; raises IsolationError for what is none."""
    try:
        # sshd names the interface of a link-local address, which nftables does not want to know.
        address = ipaddress.ip_address(operator.split("%")[0])
        return str(address), [str(ipaddress.ip_network(each, strict=False)) for each in allow]
    except ValueError as exc:
        raise IsolationError(f"{exc}.") from exc


def ruleset(operator: str, ssh_port: int, allow: t.Sequence[str]) -> str:
    """The rules in nftables' language; the first two lines make it a replacement."""
    chains = {
        "input": [
            "iif lo accept",
            *_ADDRESSES["input"],
            f"{_family(operator)} saddr {operator} tcp dport {ssh_port} accept",
            *(f"{_family(each)} saddr {each} accept" for each in allow),
        ],
        "output": [
            "oif lo accept",
            *_ADDRESSES["output"],
            f"{_family(operator)} daddr {operator} tcp sport {ssh_port} accept",
            *(f"{_family(each)} daddr {each} accept" for each in allow),
        ],
        "forward": list(_between(allow)),
    }
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    for hook, rules in chains.items():
        # Before connections are tracked: the others' rules cannot let in what these keep out.
        lines += [f"  chain {hook} {{", f"    type filter hook {hook} priority -300; policy drop;"]
        lines += [*(f"    {rule}" for rule in rules), "  }"]
    return "\n".join([*lines, "}", ""])


def _between(allow: t.Sequence[str]) -> t.Iterator[str]:
    for family in ("ip", "ip6"):
        # Of networks within each other, nftables takes the wider one alone.
        own = [ipaddress.ip_network(each) for each in allow if _family(each) == family]
        if own:
            networks = ", ".join(str(each) for each in ipaddress.collapse_addresses(own))
            yield f"{family} saddr {{ {networks} }} {family} daddr {{ {networks} }} accept"


def _family(network: str) -> str:
    return "ip6" if ":" in network else "ip"
