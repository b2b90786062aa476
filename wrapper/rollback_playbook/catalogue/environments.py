"""From the name that the operator typed after ``-i`` to an inventory."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rollback_playbook.errors import UsageError


@dataclass(frozen=True)
class Environment:
    """One environment: the name people say, and what Ansible gets after ``-i``."""

    name: str
    inventory: str


def resolve(name: str, search_path: Sequence[Path]) -> Environment:
    """``prod`` is ``<folder>/prod`` in the first folder of the search path that has it.

    Anything with a slash or a comma in it, or that exists as given, is passed to Ansible as it
    is. Raises UsageError, naming what there is, when nothing matches.
    """
    if "," in name:
        return Environment(name=name.strip(","), inventory=name)
    if "/" in name or Path(name).is_file():
        if not Path(name).exists():
            raise UsageError(f"there is no inventory at {name}")
        return Environment(name=_name_of(Path(name)), inventory=str(Path(name).resolve()))
    for folder in search_path:
        if (folder / name).exists():
            return Environment(name=name, inventory=str((folder / name).resolve()))
    raise UsageError(f"there is no environment named {name!r}", hint=_hint(name, search_path))


def known(search_path: Sequence[Path]) -> list[str]:
    """The names that ``resolve`` finds, in the order of the search path."""
    names = (
        entry.name
        for folder in search_path
        if folder.is_dir()
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".")
    )
    return list(dict.fromkeys(names))


def _name_of(path: Path) -> str:
    """``inventories/prod``, ``inventories/prod/hosts.yml`` and ``prod.ini`` are all ``prod``."""
    if path.is_dir():
        return path.resolve().name
    return path.resolve().parent.name if path.stem in {"hosts", "inventory"} else path.stem


def _hint(name: str, search_path: Sequence[Path]) -> str:
    if name == "lab":
        return "the lab is not up: rollback-playbook lab up"
    names = known(search_path)
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    looked = ", ".join(str(folder) for folder in search_path)
    return f"known: {', '.join(names)}" if names else f"looked in {looked}"
