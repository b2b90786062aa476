"""What a fault of the lab is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rollback_playbook.lab.places import Lab


@dataclass(frozen=True)
class Fault:
    """Something that really happens to systems, and the scenarios that mend it.

    ``cause`` does what a person, a deployment or a crash would do. ``symptoms`` asks from outside
    what is wrong, in words; nothing when nothing is.
    """

    name: str
    title: str
    scenarios: tuple[str, ...]
    cause: Callable[[Lab], None]
    symptoms: Callable[[Lab], list[str]]
    #: Whether rows are lost or wrong afterwards, so that only a backup has them.
    damages_data: bool = False
    #: What the operator has to say beside the scenario's name, as after ``-e``.
    variables: tuple[str, ...] = ()
