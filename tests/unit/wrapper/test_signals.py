"""What signals and a lost terminal change of a run, and what they do not."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rollback_playbook.cli.signals import held, stoppable

_LOSES_ITS_TERMINAL = """
import fcntl, sys, termios, time
from pathlib import Path
from rollback_playbook.cli.signals import interruptible

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
lost = []
with interruptible(print, lambda: lost.append(True)) as interrupt:
    Path(sys.argv[1]).touch()
    while not lost:
        time.sleep(0.01)
        interrupt.catch_up()
    print("the run goes on", flush=True)
print("rolled back", file=sys.stderr, flush=True)
assert not interrupt.asked
sys.exit(7)
"""

_NOBODY_READS = """
import os, sys
from pathlib import Path
from rollback_playbook.cli.incident_run import print_finish
from rollback_playbook.cli.incident_steps import Finished
from rollback_playbook.errors import ExitCode
from rollback_playbook.execution.outcome import Outcome
from rollback_playbook.record.folder import IncidentFolder

outcome = Outcome("healthy", ExitCode.HEALTHY, "rolled back and healthy", "nothing")
print_finish(Finished(outcome, IncidentFolder(Path("x"))))
sys.exit(7)
"""


def test_run_goes_on_when_its_terminal_is_closed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _LOSES_ITS_TERMINAL, str(ready)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    while not ready.exists():
        assert process.poll() is None, os.read(leader, 65536)
    os.close(leader)

    assert process.wait(timeout=60) == 7


def test_last_words_that_nobody_reads_do_not_change_the_exit_code() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run([sys.executable, "-c", _NOBODY_READS], stderr=writing, check=False)
    os.close(writing)

    assert done.returncode == 7


def test_signal_that_comes_while_a_record_is_closed_stops_nothing_and_is_told_afterwards() -> None:
    said: list[str] = []

    with stoppable():
        with held(said.append):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            assert said == []
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert said == ["it had ended already: its record was being closed"]


def test_way_out_of_a_drill_is_not_cut_short_by_a_second_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with stoppable():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert signal.getsignal(signal.SIGTERM) is before
