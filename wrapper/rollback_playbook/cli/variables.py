"""``-e``: ``name=value``, a JSON object, or ``@file`` with YAML, vaulted or not."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollback_playbook.errors import UsageError


@dataclass(frozen=True)
class Given:
    """The variables of the command line; ``secrets`` are the texts that a vault kept."""

    values: dict[str, Any]
    secrets: tuple[str, ...] = ()


def parse_variables(arguments: Iterable[str], environment: Mapping[str, str]) -> Given:
    """All of them together, later ones first in rank; raises UsageError on malformed ones.

    Vaulted files are opened with the vault password that Ansible has in ``environment``.
    """
    values: dict[str, Any] = {}
    secrets: list[str] = []
    for argument in arguments:
        found = _parse(argument.strip(), environment)
        values.update(found.values)
        secrets += found.secrets
    return Given(values, tuple(secrets))


def _parse(text: str, environment: Mapping[str, str]) -> Given:
    if text.startswith("@"):
        return _from_file(Path(text[1:]).expanduser(), environment)
    if text.startswith("{"):
        return Given(_load(text, f"-e {text}"))
    return Given(dict(_pair(part) for part in shlex.split(text)))


def _from_file(path: Path, environment: Mapping[str, str]) -> Given:
    from rollback_playbook.plan.vaulted_file import holds_vaulted, read_vaulted

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"-e @{path} cannot be read: {error}") from error
    if not holds_vaulted(text):
        return Given(_load(text, f"the file {path}"))
    values, secrets = read_vaulted(path, environment)
    return Given(values, tuple(secrets))


def _load(text: str, source: str) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not valid YAML or JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{source} holds no variables: it must be a mapping")
    return found


def _pair(part: str) -> tuple[str, str]:
    name, sign, value = part.partition("=")
    if not sign or not name.isidentifier():
        raise UsageError(f"-e {part!r} is neither name=value, nor JSON, nor @file")
    return name, value
