"""What users of an environment see during a drill: before the fault, of it, and in the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import click

from rollback_playbook.cli import drill_verdict as verdict
from rollback_playbook.cli.drill_steps import Felt, step, tell_fault
from rollback_playbook.drill.definition import Definition
from rollback_playbook.drill.prober import Prober, Sample, seen
from rollback_playbook.errors import RefusedError
from rollback_playbook.execution.outcome import Progress
from rollback_playbook.execution.runner import Interrupt
from rollback_playbook.record.redaction import Redactor

#: So many right answers in a row, and the environment is well; so many seconds more than it takes
#: to ask for them.
_WELL = 10
_WELL_SECONDS = 15.0
#: How long the fault is looked at before the rollback, in seconds; a fault that nobody felt by
#: then may be one that users do not feel, such as damaged rows.
_FAULT_SECONDS = 10.0
#: How long users are watched after the scenario has ended, unless they are well sooner.
_END_SECONDS = 2.0
_LOOK_SECONDS = 0.1


@dataclass
class Watch:
    """Looks at the users of one environment."""

    definition: Definition
    prober: Prober
    felt: Felt | None = None
    #: What they saw last, once the scenario had ended.
    end: list[Sample] = field(default_factory=list)

    def require_good(self, *, hint: str) -> None:
        """A drill begins on a system that works, so that what is wrong later is the fault."""
        users = self.definition.users
        step(f"users of {self.definition.environment} ask for {', '.join(users.urls)}")
        until = time.monotonic() + _WELL_SECONDS + _WELL / users.rate
        while not _are_well(last := self.prober.so_far()[-_WELL:]):
            if time.monotonic() > until:
                raise RefusedError(
                    f"{self.definition.environment} is not well before anything was broken: "
                    f"{_told(last)}; nothing was changed",
                    hint=hint,
                )
            time.sleep(_LOOK_SECONDS)

    def tell_fault(self, interrupt: Interrupt, *, since: float) -> None:
        """Wait until somebody feels it, and say so; raises KeyboardInterrupt when it was asked."""
        until = time.monotonic() + _FAULT_SECONDS
        while seen(self.prober.so_far(), since=since).failed == 0 and time.monotonic() < until:
            stop_if_asked(interrupt)
            time.sleep(_LOOK_SECONDS)
        if tell_fault(self.prober.so_far(), since=since).failed == 0:
            click.echo("  so they do not feel it, or not where drill_url looks", err=True)
        stop_if_asked(interrupt)

    def measure(self, progress: Progress, *, broken: float, rollback: float) -> Felt:
        """At the end of the scenario; what users asked for before says nothing of its end."""
        ended = time.time()
        until = time.monotonic() + _END_SECONDS + 1 / self.definition.users.rate
        while time.monotonic() < until and not _are_well(_since(ended, self.prober.so_far())):
            time.sleep(_LOOK_SECONDS)
        samples = self.prober.stop()
        self.end = _since(ended, samples)
        self.felt = Felt.of(
            samples, progress, broken=broken, rollback=rollback, rate=self.definition.users.rate
        )
        return self.felt

    def served(self) -> verdict.Line:
        """Whether users got what they asked for in the end."""
        good = bool(self.end) and all(each.good for each in self.end)
        word = "are served again" if good else "still fail"
        return good, f"users {word}: {_told(self.end)}"


def stop_if_asked(interrupt: Interrupt) -> None:
    """Raises KeyboardInterrupt."""
    interrupt.catch_up()
    if interrupt.asked:
        raise KeyboardInterrupt


def _since(moment: float, samples: Sequence[Sample]) -> list[Sample]:
    return [each for each in samples if each.at >= moment][-_WELL:]


def _are_well(last: Sequence[Sample]) -> bool:
    return len(last) == _WELL and all(each.good for each in last)


def _told(samples: Sequence[Sample]) -> str:
    if not samples:
        return "nobody got an answer"
    bad = [each for each in samples if not each.good]
    if not bad:
        return f"the last {len(samples)} requests were answered"
    last = bad[-1]
    why = f"status {last.status}" if last.status else last.error or "no answer"
    where = Redactor().text(last.path)
    return f"{len(bad)} of the last {len(samples)} requests failed ({where}: {why})"
