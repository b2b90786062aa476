"""A command line that is killed leaves no process and no secret behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollback_playbook.catalogue.collection import collections_root
from rollback_playbook.execution import reaper, run_folder
from rollback_playbook.execution.ansible_environment import ansible_environment
from rollback_playbook.execution.runner import Interrupt, PlaybookRun, run

pytestmark = pytest.mark.integration

_DEADLINE_SECONDS = 60.0

_PROGRAM = """
    import os
    from pathlib import Path
    from rollback_playbook.catalogue.collection import collections_root
    from rollback_playbook.execution import run_folder
    from rollback_playbook.execution.ansible_environment import ansible_environment
    from rollback_playbook.execution.runner import Interrupt, PlaybookRun, run

    run_folder._MEMORY = Path("memory")
    environment = ansible_environment(os.environ, collections_root())
    request = PlaybookRun(Path("play.yml"), "h1,h2,", environment, {"token": "s3cret"})
    run(request, lambda event: None, Interrupt())
"""
_PLAY = f"""
- name: Switch
  hosts: all
  gather_facts: false
  connection: local
  vars:
    ansible_python_interpreter: {sys.executable}
  tasks:
    - name: It takes long
      ansible.builtin.shell: touch {{{{ playbook_dir }}}}/started && exec sleep 60
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command line whose playbook is in the middle of a task."""
    (tmp_path / "play.yml").write_text(_PLAY, encoding="ascii")
    (tmp_path / "memory").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM)], cwd=tmp_path, start_new_session=True
    )
    try:
        _wait_until(lambda: (tmp_path / "started").exists())
        yield process
    finally:
        process.kill()
        process.wait()
        for folder in (tmp_path / "memory").iterdir():
            reaper.end_processes(str(folder))


def test_killed_command_line_leaves_no_process_and_no_file(
    running: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    [folder] = (tmp_path / "memory").iterdir()
    assert len(reaper.processes_of(str(folder))) > 2

    running.kill()
    running.wait()

    _wait_until(lambda: not folder.exists())
    assert reaper.processes_of(str(folder)) == set()


def test_what_is_left_when_the_watch_is_killed_too_goes_with_the_next_command(
    running: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "_MEMORY", tmp_path / "memory")
    [folder] = (tmp_path / "memory").iterdir()
    os.kill(_watch_over(folder), signal.SIGKILL)
    running.kill()
    running.wait()
    assert reaper.processes_of(str(folder))

    removed = run_folder.remove_abandoned()

    assert folder in removed
    assert not folder.exists()
    assert reaper.processes_of(str(folder)) == set()


def test_server_that_a_task_has_started_goes_on_after_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "pid"
    command = f"setsid sleep 60 </dev/null >/dev/null 2>&1 & echo $! >{started}"
    play = [{"name": "Switch", "hosts": "h1", "gather_facts": False, "connection": "local",
             "vars": {"ansible_python_interpreter": sys.executable},
             "tasks": [{"name": "Server starts", "ansible.builtin.shell": command}]}]  # fmt: skip
    (tmp_path / "play.yml").write_text(json.dumps(play), encoding="ascii")
    monkeypatch.chdir(tmp_path)
    environment = ansible_environment(os.environ, collections_root())

    result = run(PlaybookRun(Path("play.yml"), "h1,", environment), lambda _: None, Interrupt())

    assert result.rc == 0
    pid = int(started.read_text())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


def test_folder_of_a_command_that_still_runs_is_left_alone(
    running: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "_MEMORY", tmp_path / "memory")
    [folder] = (tmp_path / "memory").iterdir()
    assert running.poll() is None

    assert folder not in run_folder.remove_abandoned()

    assert (folder / "env" / "extravars").exists()


def _watch_over(folder: Path) -> int:
    """The process id of the watch: it has the folder as its argument."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if bytes(reaper.__file__, "utf-8") in words and words[-2].endswith(bytes(folder)):
            return int(process.name)
    raise AssertionError("nobody watches")


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
