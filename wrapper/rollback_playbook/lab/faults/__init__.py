"""The faults of the lab: real ones, in code, configuration, data or load."""

from __future__ import annotations

from rollback_playbook.lab.faults import (
    bad_release,
    broken_recommendations,
    costly_recommendations,
    damaged_rows,
    everything_down,
    expired_certificate,
    hanging_payments,
    leaking_memory,
    mixed_sessions,
    stale_cache,
    stale_websockets,
    too_many_connections,
    wrong_configuration,
)
from rollback_playbook.lab.faults.fault import Fault

#: The first is what `lab break` causes unless told otherwise.
FAULTS: tuple[Fault, ...] = (
    bad_release.FAULT,
    bad_release.CODE_ONLY,
    wrong_configuration.WITH_RELEASE,
    wrong_configuration.FAULT,
    wrong_configuration.OF_SERVERS,
    expired_certificate.FAULT,
    stale_cache.FAULT,
    mixed_sessions.FAULT,
    too_many_connections.FAULT,
    leaking_memory.FAULT,
    stale_websockets.FAULT,
    hanging_payments.FAULT,
    broken_recommendations.FAULT,
    costly_recommendations.FAULT,
    everything_down.FAULT,
    damaged_rows.FAULT,
)

__all__ = ["FAULTS", "Fault"]
