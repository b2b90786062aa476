"""A drill from just before its fault to its line in the log: however it ends, that is told.

Nobody else knows that the environment was broken on purpose.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from types import TracebackType
from typing import Self

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.cli.signals import held
from rollback_playbook.errors import ExitCode, RecordError, RefusedError, RollbackError
from rollback_playbook.events.model import timestamp
from rollback_playbook.execution.lease import Lease, LeaseKeeper
from rollback_playbook.record.drill_log import Begun, Drill, append_begun, append_drill
from rollback_playbook.record.process import this_process
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.reserve import Reserve


class BrokenOffError(RollbackError):
    """A drill that came to no end; the message says whether its environment is broken."""

    def __init__(self, message: str, *, hint: str = "", exit_code: ExitCode) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class Underway:
    """Begins with a line that is on the disk before anything is broken, and room for the rest.

    ``command`` is what brings the environment back. ``lease`` is freed when the drill is broken
    off, for that command. Raises RefusedError when there is no room.
    """

    def __init__(
        self,
        settings: Settings,
        scenario: str,
        environment: str,
        *,
        command: str,
        lease: LeaseKeeper | None = None,
    ) -> None:
        self._state_dir = settings.state_dir
        self._lease = lease
        self._clean = Redactor().text
        self._begun = Begun(
            id=secrets.token_hex(8),
            time=timestamp(),
            scenario=scenario,
            environment=environment,
            command=self._clean(command),
            token=lease.token if lease else None,
            process=this_process(),
        )
        self._stage = "while the fault was caused"
        self._state = "may be broken in part"
        self._left_broken = True
        self._over = False

    def __enter__(self) -> Self:
        try:
            self._reserve = Reserve(self._state_dir)
            with held(lambda _text: None):
                append_begun(self._state_dir, self._begun)
        except RecordError as error:
            raise RefusedError(f"{error}; nothing was broken", hint=error.hint) from error
        return self

    @property
    def command(self) -> str:
        """What brings the environment back."""
        return self._begun.command

    def nothing_was_broken(self) -> None:
        self._left_broken = False

    def is_broken(self) -> None:
        """The fault was caused, and nothing has been done about it."""
        self._stage, self._state = "before the rollback", "is broken"

    def rolls_back(self) -> None:
        """From here on the room is the rollback's."""
        self._stage = "when the rollback was to begin"
        self._reserve.for_run()

    def over(self, drill: Drill) -> RecordError | None:
        """Write down how it ended; what came in the way of that."""
        self._over = True
        self._reserve.for_line()
        try:
            append_drill(self._state_dir, replace(drill, drill=self._begun.id))
        except RecordError as error:
            return error
        return None

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Raises BrokenOffError for an interrupt and for an error in words."""
        if self._over or error is None:
            return
        with held(lambda text: click.echo(text, err=True)):
            told = self._broken_off(error)
        if isinstance(error, (KeyboardInterrupt, RollbackError)):
            raise told from error
        click.echo(f"{told}\n  Next: {told.hint}", err=True)

    def _broken_off(self, error: BaseException) -> BrokenOffError:
        why, code = self._why(error)
        why = self._clean(why)
        if self._lease is not None:
            self._lease.end(Lease.RELEASED)
        unwritten = self.over(
            Drill(
                time=self._begun.time,
                scenario=self._begun.scenario,
                environment=self._begun.environment,
                incident="",
                exit_code=int(code),
                broken_off=why,
                left_broken=self._left_broken,
                command=self._begun.command,
            )
        )
        state = f"{self._begun.environment} {self._state}" if self._left_broken else ""
        said = "; ".join(filter(None, [why, state, str(unwritten or "")]))
        return BrokenOffError(said, hint=self._next(error), exit_code=code)

    def _why(self, error: BaseException) -> tuple[str, ExitCode]:
        """A refusal of the rollback is none of the drill: something was changed by then."""
        if isinstance(error, KeyboardInterrupt):
            return f"the drill was stopped {self._stage}", ExitCode.INTERRUPTED
        if isinstance(error, RollbackError):
            code = error.exit_code if not self._left_broken else ExitCode.FAILED
            return f"the drill ended {self._stage}: {error}", code
        return f"the drill ended {self._stage}: {type(error).__name__}: {error}", ExitCode.BUG

    def _next(self, error: BaseException) -> str:
        hint = error.hint if isinstance(error, RollbackError) else ""
        brings = f"{self._begun.command} brings it back" if self._left_broken else ""
        return "; ".join(filter(None, [brings, hint]))
