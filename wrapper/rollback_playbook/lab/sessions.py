"""Two customers who are always logged in: the checks of the gate ask as them."""

from __future__ import annotations

import hashlib

from rollback_playbook.lab.places import LabState

PROBES = (1, 2)


def probe_token(state: LabState, customer: int) -> str:
    """The session's token, as secret as the database's password that it is made from."""
    text = f"probe {customer} {state.database_password}"
    return f"probe-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def open_probe_sessions(state: LabState) -> None:
    """They do not expire, and a scenario that ends all sessions spares ``session:probe-*``."""
    import redis

    cache = redis.Redis(port=state.ports["valkey"])
    for customer in PROBES:
        cache.set(f"session:{probe_token(state, customer)}", customer)
