# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that run in Ansible's own process where nothing speaks against it.

A module is started as a program of its own: a new Python, which compiles the module and all of
``ansible.module_utils`` from source every time. That is most of what a short task costs, and users
wait for it between Pause and Resume. On a local connection with Ansible's own Python the module can
as well run in the worker that Ansible has forked for the task, as ansible.netcommon does with its
``import_modules``. Everywhere else the module runs as any module does.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import typing as t

from ansible.module_utils import basic
from ansible.plugins.action.normal import ActionModule as NormalAction

try:
    from ansible.module_utils.common.json import Direction, get_module_encoder
except ImportError:  # ansible-core before 2.19 hands arguments over in another way
    get_module_encoder = None

_PROFILE = "legacy"


class InProcessAction(NormalAction):
    """The normal action, but for where the module runs. Subclasses name their ``module``.

    The module is imported with the action: by Ansible itself, once, before it forks its workers.
    """

    module: t.Any = None

    def _execute_module(
        self,
        module_name: str | None = None,
        module_args: dict[str, t.Any] | None = None,
        task_vars: dict[str, t.Any] | None = None,
        **options: t.Any,
    ) -> dict[str, t.Any]:
        """As a module's result. Raises what the module raises."""
        variables = task_vars or {}
        if not self._may_run_here(variables):
            return super()._execute_module(
                module_name=module_name, module_args=module_args, task_vars=task_vars, **options
            )
        arguments = self._task.args if module_args is None else module_args
        self._update_module_args(module_name or self._task.action, arguments, variables)
        return self._parsed(self._output_of_main(arguments))

    def _may_run_here(self, variables: dict[str, t.Any]) -> bool:
        return (
            get_module_encoder is not None
            and self._connection.transport == "local"
            and not self._connection.become
            and not self._task.async_val
            and not any(self._task.environment or ())
            and self._interpreter(variables) == sys.executable
        )

    def _interpreter(self, variables: dict[str, t.Any]) -> str | None:
        host = self._task.delegate_to
        if host is not None:
            variables = variables.get("ansible_delegated_vars", {}).get(host, {})
        return self._templar.template(variables.get("ansible_python_interpreter"))

    def _output_of_main(self, arguments: dict[str, t.Any]) -> str:
        encoder = get_module_encoder(_PROFILE, Direction.CONTROLLER_TO_MODULE)
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=encoder).encode()
        basic._ANSIBLE_PROFILE = _PROFILE
        output = io.StringIO()
        # A module's last act is to print its result and to exit.
        with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            self.module.main()
        return output.getvalue()

    def _parsed(self, output: str) -> dict[str, t.Any]:
        result = self._parse_returned_data({"stdout": output}, _PROFILE)
        for stream in ("stdout", "stderr"):
            if stream in result:
                result.setdefault(f"{stream}_lines", (result[stream] or "").splitlines())
        return result
