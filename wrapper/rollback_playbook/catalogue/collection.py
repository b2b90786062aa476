"""Where this command line's own copy of the collection is, and that it is the right one."""

from __future__ import annotations

import re
from pathlib import Path

import rollback_playbook
from rollback_playbook.errors import UsageError

_COLLECTION = Path("ansible_collections", "sre", "rollback")
_VERSION = re.compile(r"^version: (?P<version>.+)$", re.MULTILINE)


def collections_root() -> Path:
    """The folder that holds ``ansible_collections``: beside the package, or in its checkout.

    ``~/.ansible/collections`` outranks installed packages in Ansible's own search, so the command
    line names this folder explicitly.
    """
    beside = Path(rollback_playbook.__file__).resolve().parents[1]
    for root in (beside, beside.parent / "collection"):
        if (root / _COLLECTION / "galaxy.yml").is_file():
            return root
    raise UsageError(
        "the collection sre.rollback is not beside the command line",
        hint="pip install --force-reinstall rollback-playbook",
    )


def bundled_playbooks() -> Path:
    """The folder of the collection's own scenarios."""
    return collections_root() / _COLLECTION / "playbooks"


def require_same_version() -> str:
    """The version of the command line and of its collection.

    Raises UsageError when the two differ: they are released together and tested together only.
    """
    from importlib.metadata import PackageNotFoundError, version

    text = (collections_root() / _COLLECTION / "galaxy.yml").read_text(encoding="utf-8")
    match = _VERSION.search(text)
    collection = match["version"].strip("\"' ") if match else "unknown"
    try:
        ours = version("rollback-playbook")
    except PackageNotFoundError:
        ours = "not installed"
    if ours != collection:
        raise UsageError(
            f"the command line is {ours} but its collection is {collection}",
            hint="pip install --force-reinstall rollback-playbook (in a checkout: make install)",
        )
    return ours
