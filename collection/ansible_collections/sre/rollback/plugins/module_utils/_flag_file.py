# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A JSON or YAML file of flags: one part gets another value, the rest stays as it was written.

JSON keeps its order and indentation, and has no comments. YAML keeps its comments, order and quotes
by ruamel.yaml. What a text became is read again before it is written: it has to hold what was
wanted, and nothing else may differ.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import (
    FlagError,
    UnchangedError,
)

with contextlib.suppress(ImportError):  # _require_ruamel() says so
    from ruamel import yaml as ruamel
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, SingleQuotedScalarString
    from ruamel.yaml.util import load_yaml_guess_indent

_INDENT = re.compile(r"\n([ \t]+)\S")
_WIDE = 1 << 20
#: Where a value stands: the keys that lead to it.
Place = t.Tuple[str, ...]


@dataclass(frozen=True)
class FlagFile:
    """The text of one file, and what it says in plain values."""

    path: str
    text: str
    document: dict[str, t.Any]

    def with_values(self, values: t.Mapping[Place, t.Any]) -> FlagFile:
        """The file with these values at their places, which exist. Raises FlagError."""
        wanted = copy.deepcopy(self.document)
        for place, value in values.items():
            _put(wanted, place, value)
        if is_same(wanted, self.document):
            return self
        text = _yaml_with(self, values) if _is_yaml(self.path) else _json_with(self, wanted)
        after = FlagFile(self.path, text, _parsed(self.path, text))
        if not is_same(after.document, wanted):
            raise FlagError(
                f"{self.path} shares parts between flags (anchors, aliases or merge keys), so that "
                "one cannot be changed alone. Nothing was changed. Write them out in full."
            )
        return after

    def replace_by(self, after: FlagFile) -> None:
        """Replace the file in one step. Raises UnchangedError when somebody else changed it."""
        if _read(self.path) != self.text:
            raise UnchangedError(
                f"{self.path} was changed by somebody else meanwhile; it was left as they wrote "
                "it. Run it again."
            )
        _atomic_file.replace(self.path, after.text.encode())


def load(path: str) -> FlagFile:
    """The file as it is now. Raises FlagError."""
    text = _read(path)
    return FlagFile(path, text, _parsed(path, text))


def _read(path: str) -> str:
    content = _atomic_file.read(path)
    if content is None:
        raise FlagError(f"there is no file {path}. Nothing was changed. Check the path.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise FlagError(f"{path} is not UTF-8: {exc}. Nothing was changed.") from exc


def _parsed(path: str, text: str) -> dict[str, t.Any]:
    document = _parsed_yaml(path, text) if _is_yaml(path) else _parsed_json(path, text)
    if not isinstance(document, dict):
        raise FlagError(f"{path} is no file of flags: it holds no mapping. Nothing was changed.")
    return document


def _parsed_json(path: str, text: str) -> t.Any:
    try:
        return json.loads(text, object_pairs_hook=_members)
    except (ValueError, RecursionError) as exc:
        raise FlagError(f"{path} is not valid JSON: {exc}. Nothing was changed.") from exc


def _members(pairs: t.Sequence[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return found


def _json_with(file: FlagFile, wanted: t.Mapping[str, t.Any]) -> str:
    """A file in one line stays in one line."""
    indent = _INDENT.search(file.text)
    text = json.dumps(wanted, indent=indent.group(1) if indent else None, ensure_ascii=False)
    return text + ("\n" if file.text.endswith("\n") else "")


def _parsed_yaml(path: str, text: str) -> t.Any:
    """Readers differ in what a bare ``on`` means, so that it must mean one thing here."""
    _require_ruamel(path)
    try:
        document, other = (_loaded_yaml(text, version) for version in ((1, 2), (1, 1)))
    except (ruamel.YAMLError, ValueError, TypeError, RecursionError) as exc:
        reason = " ".join(str(exc).split())
        raise FlagError(f"{path} is not valid YAML: {reason}. Nothing was changed.") from exc
    if not is_same(document, other):
        raise FlagError(
            f"{path} has words without quotes that readers of YAML take differently, such as on, "
            "off, yes or no. Nothing was changed. Quote them."
        )
    return document


def _loaded_yaml(text: str, version: tuple[int, int]) -> t.Any:
    """As JSON has it, which is what clients make of it."""
    reader = ruamel.YAML(typ="safe", pure=True)
    reader.version = version
    return json.loads(json.dumps(reader.load(text)), object_pairs_hook=_members)


def _yaml_with(file: FlagFile, values: t.Mapping[Place, t.Any]) -> str:
    writer = ruamel.YAML()
    writer.preserve_quotes = True
    writer.width = _WIDE
    _loaded, sequence, offset = load_yaml_guess_indent(file.text)
    writer.indent(mapping=_mapping_indent(file.text), sequence=sequence, offset=offset)
    document = writer.load(file.text)
    # A member that comes from a merge key cannot be removed; the comparison afterwards says so.
    with contextlib.suppress(KeyError):
        for place, value in values.items():
            _put(document, place, value)
    stream = io.StringIO()
    writer.dump(document, stream)
    return stream.getvalue()


def _put(document: t.Any, place: Place, value: t.Any) -> None:
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    found = parent[place[-1]]
    if isinstance(found, dict) and isinstance(value, dict):
        _make_like(found, value)
    else:
        parent[place[-1]] = _quoted_like(found, value)


def _make_like(found: t.Any, wanted: t.Mapping[str, t.Any]) -> None:
    """Member by member, since what does not differ keeps its comments and its quotes."""
    for name in [each for each in found if each not in wanted]:
        del found[name]
    for name, value in wanted.items():
        present = found.get(name)
        if isinstance(present, dict) and isinstance(value, dict):
            _make_like(present, value)
        elif name not in found:
            found[_quoted_like(None, name)] = _quoted_like(None, value)
        elif not is_same(present, value):
            found[name] = _quoted_like(present, value)


def is_same(one: t.Any, other: t.Any) -> bool:
    """True and 1 are equal to Python, and not the same to a client."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _quoted_like(found: t.Any, value: t.Any) -> t.Any:
    """YAML's strings get quotes: some readers take a bare word for a boolean or a date."""
    if isinstance(value, str) and "ruamel" in globals():
        single = isinstance(found, SingleQuotedScalarString)
        return SingleQuotedScalarString(value) if single else DoubleQuotedScalarString(value)
    if isinstance(value, dict):
        return {_quoted_like(None, name): _quoted_like(None, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_quoted_like(None, each) for each in value]
    return value


def _mapping_indent(text: str) -> int:
    found = _INDENT.search(text)
    return len(found.group(1)) if found else 2


def _is_yaml(path: str) -> bool:
    return Path(path).suffix in (".yaml", ".yml")


def _require_ruamel(path: str) -> None:
    if "ruamel" not in globals():
        raise FlagError(
            f"{path} is YAML, and the Python of this host has no ruamel.yaml, which keeps its "
            "comments. Nothing was changed. Install ruamel.yaml, or set "
            "ansible_python_interpreter."
        )
