"""What the signals of an operator and of a lost terminal mean for a run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rollback_playbook.execution.runner import Interrupt

_SOON = "stopping as soon as the running task has finished; once more stops it now"
_NOW = "stopping now: what runs is abandoned half-way"


@contextmanager
def interruptible(say: Callable[[str], None], hung_up: Callable[[], None]) -> Iterator[Interrupt]:
    """SIGINT and SIGTERM ask for a stop at a safe point, a second one for a stop at once.

    SIGHUP stops nothing: a rollback that has begun is finished when the terminal is lost, and
    recorded. Handlers are put back.
    """
    interrupt = Interrupt()
    terminals = list(_on_a_terminal())

    def ask(_number: int, _frame: object) -> None:
        interrupt.ask()
        text = _NOW if interrupt.now else _SOON
        interrupt.later(lambda: say(text))

    def hang_up(_number: int, _frame: object) -> None:
        _let_go(terminals)
        interrupt.later(hung_up)

    handlers = {signal.SIGINT: ask, signal.SIGTERM: ask, signal.SIGHUP: hang_up}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _on_a_terminal() -> Iterator[int]:
    """Asked beforehand: one that is lost says of itself that it is none."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            if os.isatty(stream.fileno()):
                yield stream.fileno()


def _let_go(terminals: Sequence[int]) -> None:
    """Every later write to the lost terminal would be an error in the middle of a rollback."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in terminals:
        with suppress(OSError):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)
