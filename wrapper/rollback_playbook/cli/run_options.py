"""The options that every command which runs something has, said once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from rollback_playbook.cli.settings import Settings

_Function = Callable[..., Any]

reason = click.option("--reason", default="", help="Why; it stands in the record and in messages.")
check = click.option("--check", is_flag=True, help="Say what would be done; change nothing.")
variables = click.option(
    "-e",
    "--extra-vars",
    "variables",
    multiple=True,
    metavar="k=v|@file",
    help="Variables for the playbook; a file may be vaulted.",
)
yes = click.option(
    "--yes",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[ENV]",
    help="Do not ask. A protected environment needs its name here.",
)
take_over = click.option(
    "--take-over", is_flag=True, help="Take the environment from whoever holds its lock."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the record's events as JSON.")
_vault_file = click.option(
    "--vault-password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Where the vault's password is [ANSIBLE_VAULT_PASSWORD_FILE].",
)
_vault_prompt = click.option(
    "--ask-vault-pass", is_flag=True, help="Ask for the vault's password before anything begins."
)


def vault_password(command: _Function) -> _Function:
    """``--vault-password-file`` and ``--ask-vault-pass``; they go into the settings."""

    @_vault_file
    @_vault_prompt
    @wraps(command)
    def with_password(
        settings: Settings,
        /,
        *arguments: Any,
        vault_password_file: Path | None,
        ask_vault_pass: bool,
        **options: Any,
    ) -> Any:
        if ask_vault_pass:
            asked = click.prompt("Vault password", hide_input=True, err=True)
            settings = replace(settings, vault_password=asked)
        elif vault_password_file is not None:
            settings = replace(settings, vault_password_file=vault_password_file.absolute())
        return command(settings, *arguments, **options)

    return with_password
