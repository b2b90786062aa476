"""Driving a real ansible-playbook: nothing lost, nothing leaked, stopped at a safe point."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from rollback_playbook.catalogue.collection import collections_root
from rollback_playbook.errors import RefusedError, UsageError
from rollback_playbook.execution import reaper, run_folder
from rollback_playbook.execution.ansible_environment import ansible_environment
from rollback_playbook.execution.runner import Interrupt, JobEvent, PlaybookRun, RunResult, run
from rollback_playbook.plan.hosts import resolve_hosts

pytestmark = pytest.mark.integration

_SECRET = "c4nary-s3cret"


@pytest.fixture
def environment() -> dict[str, str]:
    base = {**os.environ, "SHOP_TOKEN": _SECRET, "LC_ALL": "C.UTF-8"}
    return ansible_environment(base, collections_root())


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of this test's own for the folders of runs."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(run_folder, "_MEMORY", folder)
    return folder


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.ini"
    path.write_text(
        "[app]\nweb1\nweb2\n[database]\ndb1\n[all:vars]\nansible_connection=local\n"
        "ansible_python_interpreter={{ ansible_playbook_python }}\n",
        encoding="ascii",
    )
    return path


@pytest.fixture
def play(tmp_path: Path, inventory: Path, environment: dict[str, str]) -> Callable[..., RunResult]:
    """Run these tasks on the inventory's application hosts."""

    def start(
        tasks: str,
        on_event: Callable[[JobEvent], None] = lambda _: None,
        *,
        interrupt: Interrupt | None = None,
        **request: Any,
    ) -> RunResult:
        playbook = tmp_path / "play.yml"
        playbook.write_text(
            f"- name: Verify\n  hosts: app\n  gather_facts: false\n  tasks:\n{tasks}",
            encoding="ascii",
        )
        asked = PlaybookRun(playbook, str(inventory), environment, **request)
        return run(asked, on_event, interrupt or Interrupt())

    return start


_PING = "    - {name: It answers, ansible.builtin.ping: {}}\n"
_SLEEP = "    - {name: It sleeps, ansible.builtin.command: sleep 2}\n"


def test_run_hands_over_every_event_in_order(play: Callable[..., RunResult]) -> None:
    events: list[JobEvent] = []

    result = play(_PING, events.append)

    assert (result.rc, result.status) == (0, "successful")
    assert [event["counter"] for event in events] == list(range(1, len(events) + 1))
    assert result.events_received == result.events_expected == len(events)
    assert {event["event_data"].get("host") for event in events} >= {"web1", "web2"}


def test_run_with_a_slow_handler_loses_nothing_and_ends_well(
    play: Callable[..., RunResult],
) -> None:
    result = play(_PING, lambda _: time.sleep(0.1))

    assert result.rc == 0
    assert result.events_received == result.events_expected


def test_run_whose_handler_cannot_write_says_so_instead_of_swallowing_it(
    play: Callable[..., RunResult],
) -> None:
    def full_disk(_: JobEvent) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        play(_PING, full_disk)


def test_run_reports_a_failed_task(play: Callable[..., RunResult]) -> None:
    result = play("    - {name: It fails, ansible.builtin.fail: {msg: no}}\n")

    assert (result.rc, result.status) == (2, "failed")


def test_run_of_a_playbook_that_cannot_be_parsed_keeps_ansibles_words(
    play: Callable[..., RunResult],
) -> None:
    result = play("    - {name: It is wrong, no.such.module: {}}\n")

    assert result.rc not in (0, None)
    assert any("no.such.module" in line for line in result.output_tail)


def test_run_keeps_variables_out_of_argv_and_other_variables_out_of_the_environment(
    play: Callable[..., RunResult],
) -> None:
    seen: list[str] = []

    def look(_: JobEvent) -> None:
        for process in psutil.Process().children(recursive=True):
            try:
                seen.extend([" ".join(process.cmdline()), str(process.environ())])
            except psutil.Error:
                continue

    result = play(_PING, look, variables={"token": _SECRET})

    assert result.rc == 0
    assert seen
    assert not any(_SECRET in text for text in seen)


def test_run_leaves_no_file_behind(play: Callable[..., RunResult], memory: Path) -> None:
    seen: list[list[Path]] = []

    play(_PING, lambda _: seen.append(list(memory.iterdir())), variables={"token": _SECRET})

    assert any(seen)
    assert list(memory.iterdir()) == []


def test_run_passes_limit_tags_and_check_mode_on(play: Callable[..., RunResult]) -> None:
    tasks = (
        "    - {name: Wanted, ansible.builtin.command: 'true', tags: [wanted]}\n"
        "    - {name: Unwanted, ansible.builtin.command: 'false'}\n"
    )
    events: list[JobEvent] = []

    result = play(tasks, events.append, limit="web2", tags=("wanted",), check=True)

    hosts = {event["event_data"].get("host") for event in events} - {None}
    skipped = [event for event in events if event["event"] == "runner_on_skipped"]
    assert result.rc == 0
    assert hosts == {"web2"}
    assert len(skipped) == 1


def test_interrupt_stops_before_the_next_task_and_leaves_no_process(
    play: Callable[..., RunResult],
) -> None:
    interrupt = Interrupt()
    before = set(psutil.Process().children(recursive=True))
    tasks: list[str] = []

    def on_event(event: JobEvent) -> None:
        if event["event"] == "playbook_on_task_start":
            tasks.append(event["event_data"]["task"])
            if len(tasks) == 1:
                interrupt.ask()

    result = play(_PING + _SLEEP + _SLEEP, on_event, interrupt=interrupt)

    assert result.interrupted
    assert result.rc != 0
    assert "It sleeps" not in tasks[2:]
    assert set(psutil.Process().children(recursive=True)) <= before


def test_interrupt_lets_the_running_task_finish(
    play: Callable[..., RunResult], tmp_path: Path
) -> None:
    interrupt = Interrupt()
    done = tmp_path / "done"

    def on_event(event: JobEvent) -> None:
        if event["event"] == "runner_on_start":
            interrupt.ask()

    result = play(
        f"    - {{name: It writes, ansible.builtin.shell: sleep 1; touch {done}}}\n" + _PING,
        on_event,
        interrupt=interrupt,
        limit="web1",
    )

    assert result.interrupted
    assert done.exists()


def test_interrupt_during_the_last_task_is_no_interruption(play: Callable[..., RunResult]) -> None:
    interrupt = Interrupt()

    def on_event(event: JobEvent) -> None:
        if event["event"] == "runner_on_ok":
            interrupt.ask()

    result = play(_PING, on_event, interrupt=interrupt, limit="web1")

    assert result.rc == 0
    assert not result.interrupted


def test_second_interrupt_stops_at_once_and_leaves_no_process(
    play: Callable[..., RunResult],
) -> None:
    interrupt = Interrupt()
    marked: set[int] = set()
    folders: list[str] = []

    def on_event(event: JobEvent) -> None:
        if event["event"] == "runner_on_start":
            folders.extend(_run_folders())
            marked.update(reaper.processes_of(folders[0]))
            interrupt.ask()
            interrupt.ask()

    result = play(
        "    - {name: It hangs, ansible.builtin.command: sleep 60}\n",
        on_event,
        interrupt=interrupt,
    )

    assert result.interrupted
    assert marked
    assert reaper.processes_of(folders[0]) == set()


def _run_folders() -> list[str]:
    """The folders of the runs of this process, as their processes say."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found.add(child.environ().get(reaper.MARK, ""))
    return sorted(found - {""})


def test_hosts_are_resolved_as_ansible_resolves_them(
    inventory: Path, environment: dict[str, str]
) -> None:
    hosts = resolve_hosts(
        str(inventory), ["all", "app:!web1", "database"], "", environment=environment
    )

    assert hosts.names == ("db1", "web1", "web2")
    assert hosts.by_pattern["app:!web1"] == ("web2",)
    assert len(hosts.fingerprint) == 8


@pytest.mark.parametrize(
    ("patterns", "limit", "error", "words"),
    [
        pytest.param(["cache"], "", RefusedError, "'cache' matches none", id="unknown group"),
        pytest.param(["app:cache"], "", RefusedError, "'cache' matches none", id="half a pattern"),
        pytest.param(["app"], "wbe1", UsageError, "'wbe1' matches no host", id="misspelt limit"),
        pytest.param(["app"], "web1,wbe2", UsageError, "'wbe2'", id="half of a limit"),
        pytest.param(["app", "database"], "app", RefusedError, "no host is left for 'database'",
                     id="a phase without hosts"),
        pytest.param(["app", "app:database"], "app", RefusedError,
                     "leaves out every host of 'database', which the scenario needs",
                     id="half of a phase without hosts"),
    ],
)  # fmt: skip
def test_hosts_that_match_nothing_are_refused(
    inventory: Path,
    environment: dict[str, str],
    patterns: list[str],
    limit: str,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        resolve_hosts(str(inventory), patterns, limit, environment=environment)


def test_limit_may_leave_out_what_a_scenario_can_do_without(
    inventory: Path, environment: dict[str, str]
) -> None:
    hosts = resolve_hosts(
        str(inventory), ["app:database"], "all:!db1", environment=environment, may_lack=["database"]
    )

    assert hosts.by_pattern["app:database"] == ("web1", "web2")


@pytest.fixture
def without_cache(inventory: Path) -> Path:
    with inventory.open("a", encoding="ascii") as file:
        file.write("[cache]\n")
    return inventory


def test_group_that_is_declared_without_hosts_may_be_lacking(
    without_cache: Path, environment: dict[str, str]
) -> None:
    hosts = resolve_hosts(
        str(without_cache), ["app:cache"], "", environment=environment, may_lack=["cache"]
    )

    assert hosts.by_pattern["app:cache"] == ("web1", "web2")
    assert hosts.groups["cache"] == ()


@pytest.mark.parametrize(
    ("patterns", "may_lack", "words"),
    [
        pytest.param(["app:cache"], [], "'cache' matches none", id="not for every scenario"),
        pytest.param(["app:caches"], ["caches"], "'caches' matches none", id="not declared"),
        pytest.param(["app", "cache"], ["cache"], "no host is left for 'cache'",
                     id="a phase without hosts"),
        pytest.param(["app:cache", "app:proxy"], ["cache"], "'proxy' matches none", id="another"),
    ],
)  # fmt: skip
def test_hosts_that_are_missing_for_another_reason_are_refused(
    without_cache: Path,
    environment: dict[str, str],
    patterns: list[str],
    may_lack: list[str],
    words: str,
) -> None:
    with pytest.raises(RefusedError, match=words):
        resolve_hosts(str(without_cache), patterns, "", environment=environment, may_lack=may_lack)


def test_refusal_says_how_an_inventory_says_that_there_is_no_database(
    without_cache: Path, environment: dict[str, str]
) -> None:
    with pytest.raises(RefusedError) as caught:
        resolve_hosts(
            str(without_cache), ["app:proxy"], "", environment=environment, may_lack=["proxy"]
        )

    assert caught.value.hint.endswith("Where there is no proxy, say so: `proxy: {hosts: {}}`")


def test_inventory_that_is_broken_is_refused_with_its_name(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("all: [", encoding="ascii")

    with pytest.raises(UsageError, match=r"broken\.yml"):
        resolve_hosts(str(broken), ["all"], "", environment=environment)


_GATE = """
    - name: System is healthy
      sre.rollback.health_gate:
        checks:
          - {name: always there, command: {argv: [test, -d, "{{ playbook_dir }}"]}}
          - {name: soon there, command: {argv: [test, -e, "{{ playbook_dir }}/soon"]}}
        period: 0.05
        deadline: 60
      run_once: true
"""


def test_gate_is_heard_while_its_checks_turn_green(
    play: Callable[..., RunResult], tmp_path: Path
) -> None:
    kinds: list[str] = []
    states: list[dict[str, str]] = []

    def on_event(event: JobEvent) -> None:
        kinds.append(event["event"])
        if event["event"] == "gate_sampled":
            checks = event["event_data"]["checks"]
            states.append({check["name"]: check["state"] for check in checks})
            if states[-1]["always there"] == "passed":
                (tmp_path / "soon").touch()

    result = play(_GATE, on_event)

    assert result.rc == 0
    assert {"always there": "passed", "soon there": "failed"} in states
    assert states[-1] == {"always there": "passed", "soon there": "passed"}
    last = len(kinds) - 1 - kinds[::-1].index("gate_sampled")
    assert last < kinds.index("runner_on_ok")
    assert result.events_received == result.events_expected == len(kinds) - len(states)
