# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``command``: a program ends with the right exit code and the right output.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.matching import Pattern
from ansible_collections.sre.rollback.plugins.module_utils._probes.program import (
    Finished,
    run_program,
)


def _options() -> dict[str, t.Any]:
    return {
        "argv": {"type": "list", "elements": "str", "required": True},
        "chdir": {"type": "path"},
        "environment": {"type": "dict", "default": {}},
        "rc": {"type": "list", "elements": "int", "default": [0]},
        "stdout": {"type": "str"},
    }


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    argv, chdir = options["argv"], options.get("chdir")
    if not argv or not argv[0]:
        raise ProbeRefusedError("argv is empty")
    if chdir and not Path(chdir).is_dir():
        raise ProbeRefusedError(f"chdir {chdir} is not a folder")
    added = {str(name): str(value) for name, value in (options.get("environment") or {}).items()}
    allowed = tuple(options["rc"])
    if not allowed:
        raise ProbeRefusedError("rc is empty: no exit code would do")
    stdout = Pattern.compile(options["stdout"], "stdout") if options.get("stdout") else None

    def probe(leash: Leash) -> None:
        done = run_program(argv, leash, chdir=chdir, environment=added)
        if done.rc not in allowed:
            raise ProbeFailedError(_wrong_exit(done))
        if stdout is not None and not stdout.found_in(done.stdout, leash):
            raise ProbeFailedError(f"the output does not match {stdout.text!r}")

    return probe


def _wrong_exit(done: Finished) -> str:
    how = f"ended by signal {-done.rc}" if done.rc < 0 else f"exit code {done.rc}"
    lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
    return f"{how}: {lines[-1][:200]}" if lines else how


KIND = Kind("command", _options, prepare)
