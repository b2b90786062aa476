"""``-e``: ``name=value``, a JSON object, or ``@file`` with YAML, as Ansible takes them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rollback_playbook.errors import UsageError


def parse_variables(arguments: Iterable[str]) -> dict[str, Any]:
    """All of them in one dict, later ones first in rank; raises UsageError on malformed ones."""
    variables: dict[str, Any] = {}
    for argument in arguments:
        variables.update(_parse(argument))
    return variables


def _parse(argument: str) -> Mapping[str, Any]:
    text = argument.strip()
    if text.startswith("@"):
        return _load(_read(Path(text[1:])), f"the file {text[1:]}")
    if text.startswith("{"):
        return _load(text, f"-e {text}")
    return dict(_pair(part) for part in shlex.split(text))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"-e @{path} cannot be read: {error}") from error


def _load(text: str, source: str) -> Mapping[str, Any]:
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
