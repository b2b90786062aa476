"""A variable is cast where it is judged or counted with.

``-e name=false`` and a survey give texts, and so do templates before ansible-core 2.19: `not name`
is then about a text that is not empty, and `name > 0` does not work at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollback_playbook.catalogue.collection import bundled_playbooks

COLLECTION = bundled_playbooks().parent
_CONDITIONS = {"when", "that", "until", "failed_when", "changed_when"}
_TEMPLATE = re.compile(r"\{\{(.*?)\}\}|\{%(.*?)%\}", re.DOTALL)
_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"\{\{.*\|\s*(int|float|length|sum|round)\s*\}\}", re.DOTALL)
_CAST = re.compile(r"\s*(\|\s*default\([^()]*\)\s*)?\|\s*(bool|int|float)\b")
_DEFINED = re.compile(r"\s*is\s+(not\s+)?(un)?defined\b")
_BEFORE = re.compile(r"(\b(not|if|and|or)|[<>]=?|[!=]=|[-+*/%])[\s(]*$")
_AFTER = re.compile(r"\s*((and|or)\b|[<>+*/%-]|[!=]=|\|\s*default\([^()]*,\s*true\s*\))")


def _files() -> Iterator[Path]:
    yield from sorted(COLLECTION.glob("playbooks/**/*.yml"))
    for part in ("defaults", "vars", "tasks", "handlers"):
        yield from sorted(COLLECTION.glob(f"roles/*/{part}/**/*.yml"))


def _options() -> set[str]:
    """The options of all roles that are no texts."""
    names = set()
    for path in COLLECTION.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, option in entry.get("options", {}).items():
                if option["type"] in ("bool", "int", "float"):
                    names.add(name)
    return names


def _expressions(node: Any, key: str = "") -> Iterator[tuple[str, bool]]:
    """Every Jinja expression, and whether it is one that Ansible judges."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _expressions(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _expressions(value, key)
    elif isinstance(node, str) and key in _CONDITIONS:
        yield node, True
    elif isinstance(node, str):
        for found in _TEMPLATE.finditer(node):
            yield found[1] or found[2], False


def _numbers(node: Any) -> Iterator[str]:
    """Variables whose template ends in a number, and is a text before ansible-core 2.19."""
    if isinstance(node, dict):
        for name, value in node.items():
            if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
                yield name
            yield from _numbers(value)
    elif isinstance(node, list):
        for value in node:
            yield from _numbers(value)


def bare(content: Any, names: set[str]) -> list[str]:
    """The expressions in which one of these is judged or counted with as it was given."""
    if not names:
        return []
    name = re.compile(rf"(?<![\w.])({'|'.join(sorted(names))})\b(?!\s*[(=](?!=))")
    found = []
    for expression, judged in _expressions(content):
        text = _TEXT.sub("''", expression)
        for use in name.finditer(text):
            before, after = text[: use.start()], text[use.end() :]
            if _CAST.match(after) or _DEFINED.match(after):
                continue
            if judged or _BEFORE.search(before) or _AFTER.match(after):
                found.append(" ".join(expression.split()))
    return found


@pytest.mark.parametrize(
    "judged",
    [
        {"when": "not stays"},
        {"that": ["stays", "other"]},
        {"when": ["other is defined", "limit > 0"]},
        {"x": "{{ 'a' if stays else 'b' }}"},
        {"x": "{{ (limit / 2) | int }}"},
        {"x": "{% if other and stays %}a{% endif %}"},
        {"x": "{{ limit | default(omit, true) }}"},
    ],
)
def test_what_is_judged_or_counted_with_as_it_was_given_is_found(judged: dict[str, Any]) -> None:
    assert bare([judged], {"stays", "limit"})


@pytest.mark.parametrize(
    "fine",
    [
        {"when": "not stays | bool"},
        {"when": "stays | default(false) | bool and limit is defined"},
        {"compare": "{{ stays }}", "limit": "{{ limit | default(omit) }}"},
        {"x": "{{ limit if other else item.limit | default(limit) }}"},
        {"x": "{{ lookup('password', length=limit) ~ 'not stays' }}"},
        {"when": "item.stays"},
    ],
)
def test_what_is_cast_or_handed_on_is_not_found(fine: dict[str, Any]) -> None:
    assert not bare([fine], {"stays", "limit"})


def test_no_role_and_no_playbook_judges_a_text() -> None:
    options = _options()
    assert {"isolation_stays", "database_timeout", "verify_hold"} <= options

    found = {}
    for path in _files():
        content = yaml.safe_load(path.read_text())
        uses = bare(content, options | set(_numbers(content)))
        if uses:
            found[str(path.relative_to(COLLECTION))] = uses
    assert not found


def test_nothing_that_a_template_gives_is_compared_with_none() -> None:
    """Before ansible-core 2.19 it is an empty text."""
    told = [
        str(path.relative_to(COLLECTION))
        for path in _files()
        if re.search(r"default\(none\)\s*\}\}", path.read_text())
    ]
    assert not told
