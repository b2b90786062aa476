"""Which package may know of which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rollback_playbook

_ROOT = Path(rollback_playbook.__file__).parent
_MAY_KNOW = {
    "events": {"events", "errors"},
    "record": {"events", "record", "errors"},
    "report": {"events", "record", "report", "errors"},
}
_LOAD = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.startswith("rollback_playbook.")}


@pytest.mark.parametrize("package", sorted(_MAY_KNOW))
def test_package_knows_only_those_below_it(package: str) -> None:
    for path in (_ROOT / package).rglob("*.py"):
        known = {name.split(".")[1] for name in _imports(path)}
        assert known <= _MAY_KNOW[package], path


def test_writing_a_record_loads_nothing_that_a_command_line_would_feel() -> None:
    names = [
        f"rollback_playbook.record.{name}" for name in ("incidents", "listing", "verification")
    ]
    argv = [sys.executable, "-c", _LOAD, *names]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "ansible",
        "ansible_runner",
        "click",
        "jinja2",
        "jsonschema",
        "rich",
        "tarfile",
        "yaml",
    }
    assert not heavy & set(loaded)
