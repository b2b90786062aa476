"""Whether everything that happened is in the record: events counted against the run."""

from __future__ import annotations

from dataclasses import dataclass

from rollback_playbook.record.chain import counter_of, type_of
from rollback_playbook.record.reading import parse_line

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Completeness:
    """``problems`` in words; ``known`` is False when no run said how many events it had."""

    expected: int
    recorded: int
    missing: tuple[int, ...]
    blanked: int
    handler_failures: int
    open_runs: int
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.problems


class CompletenessCheck:
    """Fed with every line of a record in order; parses only the few that matter.

    Ansible numbers the job events of a run from 1 without gaps. Between ``run.started`` and
    ``run.finished`` every number must have been recorded; ``run.finished`` says how many there
    were. Numbers may come out of order; what is kept is the gaps, not the numbers.
    """

    def __init__(self) -> None:
        self._expected = 0
        self._recorded = 0
        self._blanked = 0
        self._handler_failures = 0
        self._open = False
        self._open_runs = 0
        self._missing: list[int] = []
        self._problems: list[str] = []
        self._numbers = _Numbers()

    def add(self, raw: bytes) -> None:
        """One line that was recognised; only that is parsed which says something."""
        counter = counter_of(raw)
        if counter is not None:
            self._numbers.add(counter)
            if b'"blanked":true' in raw:
                self._count_blanked(raw)
            return
        kind = type_of(raw)
        if kind == b"run.started":
            self._end_run()
            self._open = True
        elif kind == b"run.finished":
            self._run_finished(raw)
        elif kind == b"handler.failed":
            self._handler_failures += 1

    def _count_blanked(self, raw: bytes) -> None:
        event = parse_line(raw)
        self._blanked += event is not None and event.data.get("blanked") is True

    def result(self) -> Completeness:
        self._end_run()
        problems = list(self._problems)
        if self._open_runs:
            problems.append(f"{self._open_runs} run(s) ended without saying how many events came")
        if self._blanked:
            problems.append(f"{self._blanked} result(s) were blanked by ansible-runner")
        if self._handler_failures:
            problems.append(f"{self._handler_failures} event(s) could not be handled")
        return Completeness(
            expected=self._expected,
            recorded=self._recorded,
            missing=tuple(self._missing[:_MOST_NAMED]),
            blanked=self._blanked,
            handler_failures=self._handler_failures,
            open_runs=self._open_runs,
            problems=tuple(problems),
        )

    def _run_finished(self, raw: bytes) -> None:
        event = parse_line(raw)
        expected = event.data.get("expected") if event else None
        self._open = False
        self._close_numbers(expected if isinstance(expected, int) else self._numbers.highest)

    def _end_run(self) -> None:
        if self._open or self._numbers.count:
            self._open_runs += 1
            self._close_numbers(self._numbers.highest)
        self._open = False

    def _close_numbers(self, expected: int) -> None:
        missing = self._numbers.missing(expected)
        self._expected += expected
        self._recorded += self._numbers.count
        self._missing += missing
        if missing:
            named = ", ".join(map(str, missing[:_MOST_NAMED]))
            more = ", …" if len(missing) > _MOST_NAMED else ""
            self._problems.append(
                f"{len(missing)} of {expected} events of a run are not recorded: {named}{more}"
            )
        self._numbers = _Numbers()


class _Numbers:
    """Which of the numbers from 1 on have been seen: as ranges, in constant memory in practice."""

    def __init__(self) -> None:
        self.count = 0
        self.highest = 0
        self._gaps: set[int] = set()

    def add(self, number: int) -> None:
        """A job event may make several events of the record, which bear its number."""
        if number == self.highest + 1:
            self.highest = number
            self.count += 1
        elif number > self.highest:
            self._gaps.update(range(self.highest + 1, min(number, self.highest + _WIDEST_GAP)))
            self.highest = number
            self.count += 1
        elif number in self._gaps:
            self._gaps.remove(number)
            self.count += 1

    def missing(self, expected: int) -> list[int]:
        behind = range(self.highest + 1, min(expected, self.highest + _WIDEST_GAP) + 1)
        return [*sorted(each for each in self._gaps if each <= expected), *behind]


#: No more than this many numbers of one gap are kept.
_WIDEST_GAP = 100_000
