"""What can go wrong, and what the on-call engineer must do next because of it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the command line; each one names what to do next."""

    HEALTHY = 0
    BUG = 1
    USAGE = 2
    REFUSED = 3
    FAILED = 4
    NOT_PROVED = 5
    RECORD_INCOMPLETE = 6
    INTERRUPTED = 130


class RollbackError(Exception):
    """The root of every error that the command line reports without a traceback.

    The message says what happened and which state was left behind; ``hint`` says what to do next.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(RollbackError):
    """The command cannot mean anything: an unknown scenario, environment, host or option."""

    exit_code = ExitCode.USAGE


class RefusedError(RollbackError):
    """A condition for going on does not hold; nothing was changed."""

    exit_code = ExitCode.REFUSED


class RecordError(RollbackError):
    """The record cannot be written or read, whatever the outcome of the rollback was."""

    exit_code = ExitCode.RECORD_INCOMPLETE
