"""The plays of a playbook, with those of the playbooks it imports in their place."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from rollback_playbook.catalogue.collection import bundled_playbooks

_IMPORT = ("ansible.builtin.import_playbook", "import_playbook")
_COLLECTION = "sre.rollback."


def read_plays(path: Path) -> list[dict[str, Any]]:
    """Every play, in order, as written; the variables of an import go before those of its plays.

    Raises ValueError when there are none, OSError or YAMLError when a file cannot be read.
    """
    entries = _load(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list) or not entries:
        raise ValueError("it holds no plays")
    return [play for entry in entries for play in _resolved(path, entry)]


@lru_cache(maxsize=256)
def _load(text: str) -> Any:
    """YAML with Ansible's own tags, such as ``!unsafe`` and ``!vault``, whose texts are kept.

    Most scenarios import the same phases; what is returned is shared and must not be changed.
    """
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Safe, and one that does not stumble over them."""

    Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))
    return yaml.load(text, Loader=Loader)  # noqa: S506


def _resolved(path: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    imported = next((str(entry[key]) for key in _IMPORT if key in entry), None)
    if imported is None:
        return [entry]
    variables = entry.get("vars") or {}
    return [
        {**play, "vars": {**(play.get("vars") or {}), **variables}}
        for play in read_plays(_file_of(path, imported))
    ]


def _file_of(path: Path, imported: str) -> Path:
    """Ansible's own rules: a playbook of a collection by its full name, others by their path."""
    if imported.startswith(_COLLECTION):
        *folders, name = imported.removeprefix(_COLLECTION).split(".")
        return bundled_playbooks().joinpath(*folders, f"{name}.yml")
    return path.parent / imported
