"""The command line: it parses, calls one function below, and prints.

Every scenario is a command of its own. A command's module is imported when it is called, so that
``--help`` costs no more than click.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RollbackError

#: name → (module, attribute, one line of help)
_COMMANDS = {
    "list": ("list_scenarios", "list_scenarios", "The scenarios: when to use which."),
    "plan": ("plan", "plan", "What a scenario would do, and to which hosts; changes nothing."),
    "continue": ("continue_", "continue_", "Take up an incident that was interrupted or failed."),
    "undo": ("undo", "undo", "Take back what an incident did."),
    "incidents": ("incidents", "incidents", "The records: list, show, timeline, report, verify …"),
    "backups": ("backups", "backups", "Verified backups: list, create, verify, stage."),
    "releases": ("releases", "releases", "Good releases: list, mark-good, mark-bad."),
    "lab": ("lab", "lab", "The embedded lab: up, down, status, break, mend."),
    "drill": ("drills", "drills", "Break a system, bring it back, prove it; drill history, --all."),
    "doctor": ("doctor", "doctor", "Whether this machine and an environment are ready."),
}  # fmt: skip

#: Set to anything, it lets a traceback through.
_TRACEBACK = "ROLLBACK_PLAYBOOK_TRACEBACK"


class RollbackGroup(click.Group):
    """The fixed commands, then one command for every scenario that is found."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *sorted(_settings(ctx).scenario_files())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module, attribute, _ = _COMMANDS[cmd_name]
            found = importlib.import_module(f"rollback_playbook.cli.{module}")
            command: click.Command = getattr(found, attribute)
            return command
        if cmd_name not in _settings(ctx).scenario_files():
            return None
        from rollback_playbook.cli.scenario import scenario_command

        return scenario_command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            from difflib import get_close_matches

            close = get_close_matches(args[0], known, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else "rollback-playbook list"
            raise click.UsageError(f"there is no scenario or command named {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from rollback_playbook.catalogue.scenarios import title_of

        files = _settings(ctx).scenario_files()
        with formatter.section("Scenarios (rollback-playbook SCENARIO -i ENVIRONMENT)"):
            formatter.write_dl([(name, title_of(path)) for name, path in sorted(files.items())])
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


def _settings(ctx: click.Context) -> Settings:
    """The settings of the options parsed so far; click asks for commands before it has parsed."""
    if isinstance(ctx.obj, Settings):
        return ctx.obj
    return Settings.from_environment(
        playbook_dirs=ctx.params.get("playbook_dir") or (),
        state_dir=ctx.params.get("state_dir"),
    )


@click.group(
    cls=RollbackGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="At three in the morning: rollback-playbook emergency -i prod",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False),
    help="Where incidents are kept [ROLLBACK_PLAYBOOK_STATE_DIR].",
)
@click.option(
    "--playbook-dir",
    type=click.Path(exists=True, file_okay=False),
    multiple=True,
    help="A folder of scenarios of your own; may be repeated [ROLLBACK_PLAYBOOK_DIRS].",
)
@click.version_option(package_name="rollback-playbook")
@click.pass_context
def cli(ctx: click.Context, state_dir: str | None, playbook_dir: tuple[str, ...]) -> None:
    """Bring a broken system back to its last known good state, prove it, keep the record.

    \b
    Exit codes: 0 rolled back and healthy; 2 wrong usage; 3 refused, nothing changed;
    4 failed after changes began; 5 rolled back but not proved healthy;
    6 record incomplete; 130 interrupted at a safe point; 1 a bug of ours.
    """
    ctx.obj = Settings.from_environment(playbook_dirs=playbook_dir, state_dir=state_dir)


def main(argv: list[str] | None = None) -> None:
    """Run and exit; every error of ours becomes one message, a hint and its exit code."""
    code: Any
    try:
        code = cli.main(args=argv, standalone_mode=False)
    except RollbackError as error:
        _print_error(str(error), error.hint)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _print_error("stopped before anything was changed", "")
        code = ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last boundary: nobody reads a traceback at three
        code = _report_bug(error)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _print_error(message: str, hint: str) -> None:
    """Redacted: messages quote inventories, and what Ansible has printed.

    Whoever presses Ctrl-C twice has to read what the first one has left.
    """
    from rollback_playbook.cli.signals import held
    from rollback_playbook.record.redaction import Redactor

    redact = Redactor().text
    with held(lambda _text: None):
        click.echo(click.style("Error: ", fg="red", bold=True) + redact(message), err=True)
        if hint:
            click.echo(click.style("  Next: ", bold=True) + redact(hint), err=True)


def _report_bug(error: Exception) -> ExitCode:
    """With the traceback only for those who ask for it."""
    if os.environ.get(_TRACEBACK):
        raise error
    _print_error(
        f"a bug of ours: {type(error).__name__}: {error}",
        "rollback-playbook incidents list says what was done; to report it, do it again with "
        f"{_TRACEBACK}=1",
    )
    return ExitCode.BUG
