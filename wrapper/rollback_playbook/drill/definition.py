"""How an environment is broken for a drill, and who asks meanwhile: what its inventory says.

- ``drill_url``: an address, or several, that users ask for and that answer 200 when all is well.
- ``drill_rate``: requests a second, 25 if not said.
- ``drill_timeout``: seconds after which a user gives up, 1 if not said.
- ``drill_ca_cert``: a file with the certificates that users trust, those of httpx if not said.
- ``drill_faults``: for each scenario a mapping with ``playbook``, which causes the fault;
  optionally ``mend``, which is played after a drill that went well, ``seconds`` within which each
  of the two has to end, 900 if not said, and ``variables`` for the scenario.

Paths are relative to the folder of the inventory.
"""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rollback_playbook.drill.prober import RATE
from rollback_playbook.drill.users import Wish
from rollback_playbook.errors import RefusedError, UsageError

_FAULTS = "drill_faults"
_URL = "drill_url"
_TIMEOUT_SECONDS = 1.0
_KEYS = frozenset({"playbook", "mend", "seconds", "variables"})
_FAULT_SECONDS = 900.0
_LONGEST_SECONDS = 86400.0


@dataclass(frozen=True)
class Fault:
    """What is broken for one scenario."""

    playbook: Path
    mend: Path | None = None
    #: How long each of the two may take.
    seconds: float = _FAULT_SECONDS
    #: Of the scenario, as ``-e`` takes them.
    variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Definition:
    """The drills of one environment, by scenario, in the order of the inventory."""

    environment: str
    users: Wish
    faults: Mapping[str, Fault] = field(default_factory=dict)

    def fault_for(self, scenario: str) -> Fault:
        """Raises RefusedError, naming those that there are."""
        if scenario not in self.faults:
            raise RefusedError(
                f"{self.environment} has no fault that {scenario} mends; nothing was changed",
                hint=f"{_FAULTS} in its inventory has one for {', '.join(self.faults)}",
            )
        return self.faults[scenario]


def definition_of(
    environment: str, inventory: str, variables: Mapping[str, Any], scenarios: Iterable[str]
) -> Definition:
    """What an inventory with these variables says; ``scenarios`` are the names that there are.

    Raises RefusedError where it says nothing of drills, UsageError where it cannot be meant.
    """
    faults = variables.get(_FAULTS)
    if not faults:
        raise RefusedError(
            f"the inventory of {environment} does not say how it may be broken ({_FAULTS}); "
            "nothing was changed",
            hint="docs/how-to/drills.md shows how; without -i the drill is on the lab",
        )
    if not isinstance(faults, Mapping):
        raise UsageError(f"{_FAULTS} of {environment} has to be a mapping of scenarios")
    unknown = sorted(set(map(str, faults)) - set(scenarios))
    if unknown:
        raise UsageError(
            f"{_FAULTS} of {environment} names what is no scenario: {', '.join(unknown)}",
            hint="rollback-playbook list",
        )
    folder = Path(inventory) if Path(inventory).is_dir() else Path(inventory).parent
    return Definition(
        environment,
        users=Wish(
            urls=_urls(environment, variables.get(_URL)),
            rate=_positive("drill_rate", variables.get("drill_rate", RATE)),
            timeout=_positive("drill_timeout", variables.get("drill_timeout", _TIMEOUT_SECONDS)),
            ca_cert=_certificates(variables.get("drill_ca_cert"), folder),
        ),
        faults={str(name): _fault(str(name), said, folder) for name, said in faults.items()},
    )


def _urls(environment: str, said: Any) -> tuple[str, ...]:
    urls = [said] if isinstance(said, str) else said
    if not urls:
        raise UsageError(
            f"the inventory of {environment} does not say what users ask for ({_URL}), so nobody "
            "could tell how long they were without it"
        )
    if not isinstance(urls, list) or not all(_is_url(url) for url in urls):
        raise UsageError(
            f"{_URL} of {environment} has to be an address like http://127.0.0.1:8080/orders, or a "
            f"list of some; it is {urls!r}"
        )
    return tuple(urls)


def _is_url(text: Any) -> bool:
    """One without a template: nobody renders it here."""
    if not isinstance(text, str) or "{{" in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _positive(name: str, said: Any, most: float = 1000) -> float:
    try:
        number = float(said)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(said, bool) or not 0 < number <= most:
        raise UsageError(f"{name} has to be a number above 0, up to {most:g}; it is {said!r}")
    return number


def _fault(scenario: str, said: Any, folder: Path) -> Fault:
    where = f"{_FAULTS}.{scenario}"
    if not isinstance(said, Mapping) or "playbook" not in said:
        raise UsageError(f"{where} has to be a mapping that names a playbook; it is {said!r}")
    odd = sorted(set(map(str, said)) - _KEYS)
    if odd:
        raise UsageError(f"{where} knows {', '.join(sorted(_KEYS))}, and not {', '.join(odd)}")
    variables = said.get("variables") or {}
    if not isinstance(variables, Mapping):
        raise UsageError(f"{where}.variables has to be a mapping; it is {variables!r}")
    return Fault(
        playbook=_playbook(f"{where}.playbook", said["playbook"], folder),
        mend=_playbook(f"{where}.mend", said["mend"], folder) if said.get("mend") else None,
        seconds=_positive(
            f"{where}.seconds", said.get("seconds", _FAULT_SECONDS), _LONGEST_SECONDS
        ),
        variables=(json.dumps(dict(variables)),) if variables else (),
    )


def _certificates(said: Any, folder: Path) -> str:
    """The path of a file that can be used, or nothing."""
    if not said:
        return ""
    path = folder / str(said)
    try:
        path = path.resolve()
        ssl.create_default_context(cafile=str(path))
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"drill_ca_cert: the certificates of {path} cannot be used: {exc}",
            hint="a path that is not absolute is relative to the folder of the inventory",
        ) from exc
    return str(path)


def _playbook(where: str, said: Any, folder: Path) -> Path:
    path = folder / str(said)
    if not path.is_file():
        raise UsageError(
            f"{where}: there is no playbook at {path.resolve()}",
            hint="a path that is not absolute is relative to the folder of the inventory",
        )
    return path.resolve()
