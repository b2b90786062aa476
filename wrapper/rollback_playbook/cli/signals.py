"""What the signals of an operator and of a lost terminal mean for a run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rollback_playbook.execution.runner import Interrupt

_SOON = "stopping as soon as the running task has finished; once more stops it now"
_NOW = "stopping now: what runs is abandoned half-way"
_ON_THE_WAY_OUT = 2
_CLOSING = "it had ended already: its record was being closed"


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

    with _handling({signal.SIGINT: ask, signal.SIGTERM: ask, signal.SIGHUP: hang_up}):
        yield interrupt


@contextmanager
def held(say: Callable[[str], None]) -> Iterator[None]:
    """Nothing stops what is done here, which is short: a record is closed, a line is written."""

    def pass_over(number: int, _frame: object) -> None:
        if number != signal.SIGHUP:
            later.append(_CLOSING)

    later: list[str] = []
    with _handling(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), pass_over)):
        yield
    for text in dict.fromkeys(later):
        say(text)


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM is what Ctrl-C is, a KeyboardInterrupt; a lost terminal stops nothing.

    The second one is passed over: the first one's way out is short, and tells what was left.
    """
    terminals = list(_on_a_terminal())
    asked: list[int] = []

    def stop(number: int, _frame: object) -> None:
        asked.append(number)
        if len(asked) != _ON_THE_WAY_OUT:
            raise KeyboardInterrupt

    def hang_up(_number: int, _frame: object) -> None:
        _let_go(terminals)

    with _handling({signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: hang_up}):
        yield


@contextmanager
def _handling(handlers: Mapping[int, Callable[[int, Any], None]]) -> Iterator[None]:
    """Handlers are put back."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
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
