"""Run one module of the collection: inside this process, or as a process that can be killed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from ansible.module_utils import _internal
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

_PACKAGE = "ansible_collections.sre.rollback.plugins.modules"

ModuleResult = dict[str, Any]
RunModule = Callable[..., ModuleResult]

_AS_PROGRAM = f"""
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
name, args = sys.argv[1], json.load(sys.stdin)
with patch_module_args(args):
    importlib.import_module("{_PACKAGE}." + name).main()
"""


def _arguments(args: Mapping[str, Any], *, check: bool, diff: bool) -> dict[str, Any]:
    return {**args, "_ansible_check_mode": check, "_ansible_diff": diff}


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """``run_module(name, args, check=False, diff=False)`` is the module's result as a dict.

    A result with ``failed`` is returned like any other. Ansible keeps the warnings of a process,
    which is one module's in its world: those of the neighbours before are forgotten first. It
    takes the process for the controller's once anything has imported Ansible's own parts, and
    would then show warnings instead of returning them.
    """
    monkeypatch.setattr(_internal, "is_controller", False)

    def run(
        name: str, args: Mapping[str, Any], *, check: bool = False, diff: bool = False
    ) -> ModuleResult:
        module = importlib.import_module(f"{_PACKAGE}.{name}")
        capsys.readouterr()
        warnings._global_warnings.clear()
        warnings._global_deprecations.clear()
        with (
            patch_module_args(_arguments(args, check=check, diff=diff)),
            pytest.raises(SystemExit),
        ):
            module.main()
        result: ModuleResult = json.loads(capsys.readouterr().out)
        return result

    return run


def start_module(
    name: str, args: Mapping[str, Any], *, check: bool = False, **popen: Any
) -> subprocess.Popen[str]:
    """The module as a process of its own, its arguments already written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _AS_PROGRAM, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(_arguments(args, check=check, diff=False)))
    process.stdin.close()
    process.stdin = None
    return process


def killed_at_many_moments(
    name: str, args_of: Callable[[int], Mapping[str, Any]], *, turns: int
) -> Iterator[int]:
    """Run the module again and again, killed later and later in its work; each turn, once it is.

    The first turn is a whole run. It says how long one takes here and now, its start included, so
    that the moments are spread over the work on a slow machine as well.
    """
    whole = 0.0
    for turn in range(turns + 1):
        begun = time.monotonic()
        process = start_module(name, args_of(turn))
        if turn:
            time.sleep(whole * (0.4 + 0.8 * turn / turns))
            process.kill()
        process.communicate(timeout=240)
        whole = whole or time.monotonic() - begun
        yield turn
