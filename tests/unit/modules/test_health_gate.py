"""health_gate's contract with its documentation, and how its kinds are found."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from ansible_collections.sre.rollback.plugins.doc_fragments._health_checks import (
    ModuleDocFragment,
)
from ansible_collections.sre.rollback.plugins.module_utils import (
    _postgres,
    _probes,
    _redis,
)
from ansible_collections.sre.rollback.plugins.module_utils._gate_plan import gate_argument_spec
from ansible_collections.sre.rollback.plugins.module_utils._probes.registry import KINDS
from ansible_collections.sre.rollback.plugins.modules import health_gate
from tests.module_runner import RunModule


def _documented() -> dict[str, Any]:
    options = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    return {**yaml.safe_load(health_gate.DOCUMENTATION)["options"], **options}


def _differences(spec: dict[str, Any], documented: dict[str, Any], path: str = "") -> list[str]:
    found = [f"{path}{name}" for name in set(spec) ^ set(documented)]
    for name in set(spec) & set(documented):
        option, text = spec[name], documented[name]
        for key in ("type", "elements", "default", "choices", "required"):
            absent: Any = {"type": "str", "required": False}.get(key)
            if option.get(key, absent) != text.get(key, absent):
                found.append(f"{path}{name}: {key}")
        inner = (option.get("options", {}), text.get("suboptions", {}))
        found += _differences(*inner, path=f"{path}{name}.")
    return found


def test_health_gate_documents_exactly_the_options_that_it_has() -> None:
    assert _differences(gate_argument_spec(), _documented()) == []


def test_health_gate_registers_every_file_that_defines_a_kind() -> None:
    folder = Path(_probes.__path__[0])
    files = {path.stem for path in folder.glob("*.py") if "\nKIND = Kind(" in path.read_text()}
    assert files == set(KINDS)


def _example_gates() -> list[Any]:
    tasks = yaml.safe_load(health_gate.EXAMPLES)
    return [pytest.param(task["sre.rollback.health_gate"], id=task["name"]) for task in tasks]


@pytest.mark.parametrize("arguments", _example_gates())
def test_health_gate_examples_are_not_refused(
    run_module: RunModule, arguments: dict[str, Any]
) -> None:
    result = run_module("health_gate", arguments, check=True)
    assert "outcome" in result, result["msg"]


def test_health_gate_examples_show_every_kind() -> None:
    shown = {
        kind
        for parameters in _example_gates()
        for check in parameters.values[0]["checks"]
        for kind in set(check) & set(KINDS)
    }
    assert shown == set(KINDS)


def test_health_gate_return_samples_have_the_documented_keys() -> None:
    documented = yaml.safe_load(health_gate.RETURN)
    (sample,) = documented["checks"]["sample"]
    assert set(sample) == set(documented["checks"]["contains"])


@pytest.mark.parametrize(
    ("kind", "owner", "flag", "missing"),
    [("postgres", _postgres, "HAS_PSYCOPG", False), ("redis", _redis, "REDIS_IMPORT_ERROR", "x")],
)
def test_health_gate_without_the_library_of_a_kind_says_which_one(
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    owner: ModuleType,
    flag: str,
    missing: Any,
) -> None:
    monkeypatch.setattr(owner, flag, missing)
    result = run_module("health_gate", {"checks": [{"name": "the store", kind: {}}]})
    assert result["failed"]
    assert f"check 'the store' ({kind})" in result["msg"]
    assert "Failed to import the required Python library" in result["msg"]
