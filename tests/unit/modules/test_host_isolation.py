"""Which rules close a host, and what a kill half-way leaves. Drills close a real one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._isolation_rules import (
    IsolationError,
    peers,
    ruleset,
)
from ansible_collections.sre.rollback.plugins.modules import host_isolation
from ansible_collections.sre.rollback.plugins.modules.host_isolation import (
    Host,
    Seen,
    bring,
    is_changed,
)

OPEN = Seen(table=False, timed=False, kept=False)
CLOSED = Seen(table=True, timed=True, kept=False)
CONFIRMED = Seen(table=True, timed=False, kept=True)


def _chain(rules: str, name: str) -> list[str]:
    body = rules.split(f"chain {name} {{")[1].split("}\n  chain")[0]
    return [line.strip() for line in body.strip().splitlines()]


def test_nothing_but_loopback_addresses_the_operator_and_the_allowed_comes_in() -> None:
    rules = ruleset("192.0.2.7", 2222, ["10.0.0.0/24", "2001:db8::/32"])

    accepted = [line for line in _chain(rules, "input") if line.endswith(" accept")]
    assert accepted[0] == "iif lo accept"
    assert [line for line in accepted[1:] if not line.startswith(("icmp", "udp"))] == [
        "ip saddr 192.0.2.7 tcp dport 2222 accept",
        "ip saddr 10.0.0.0/24 accept",
        "ip6 saddr 2001:db8::/32 accept",
    ]


def test_what_is_forwarded_has_to_come_from_the_allowed_and_to_go_to_them() -> None:
    rules = ruleset("192.0.2.7", 22, ["172.18.0.0/16", "172.18.3.0/24", "10.0.0.5/32"])

    assert "forward priority -300; policy drop" in rules
    assert _chain(rules, "forward")[1:] == [
        "ip saddr { 10.0.0.5/32, 172.18.0.0/16 } ip daddr { 10.0.0.5/32, 172.18.0.0/16 } accept",
        "}",
        "}",
    ]


def test_an_address_of_the_link_is_one_without_its_interface() -> None:
    assert peers("fe80::7%eth0", []) == ("fe80::7", [])


def test_what_goes_out_is_closed_too_and_open_connections_are_cut() -> None:
    rules = ruleset("2001:db8::7", 22, [])

    assert "ip6 daddr 2001:db8::7 tcp sport 22 accept" in _chain(rules, "output")
    assert rules.count("policy drop;") == 3
    assert "established" not in rules


def test_rules_replace_those_of_an_earlier_run_in_one_transaction() -> None:
    first, second, third, *_ = ruleset("192.0.2.7", 22, []).splitlines()

    assert (first, second) == ("table inet rollback_isolation", f"delete {first}")
    assert third == f"{first} {{"


@pytest.mark.parametrize(
    ("operator", "allow"),
    [
        ("", []),
        ("0.0.0.0/0", []),
        ("192.0.2.7 accept; }", []),
        ("192.0.2.7", ["db1.example.com"]),
        ("192.0.2.7", ["10.0.0.1; flush ruleset"]),
    ],
)
def test_what_is_no_address_closes_nothing(operator: str, allow: list[str]) -> None:
    with pytest.raises(IsolationError, match="does not appear to be"):
        peers(operator, allow)


@pytest.mark.parametrize(
    ("wanted", "seen", "changed"),
    [
        ("closed", OPEN, True),
        ("closed", CLOSED, False),
        ("closed", CONFIRMED, False),
        ("confirmed", CLOSED, True),
        ("confirmed", CONFIRMED, False),
        ("open", CONFIRMED, True),
        ("open", CLOSED, True),
        ("open", OPEN, False),
    ],
)
def test_a_state_that_is_there_changes_nothing(wanted: str, seen: Seen, changed: bool) -> None:
    assert is_changed(wanted, seen) is changed


def test_a_host_that_is_open_until_it_starts_anew_is_not_open_yet() -> None:
    assert is_changed("open", Seen(table=False, timed=False, kept=True))


def test_a_host_that_nothing_would_open_is_not_closed_yet() -> None:
    assert is_changed("closed", Seen(table=True, timed=False, kept=False))


def test_other_rules_close_it_again() -> None:
    assert is_changed("closed", CONFIRMED, same_rules=False)


def test_a_host_that_has_opened_by_itself_cannot_be_confirmed() -> None:
    with pytest.raises(IsolationError, match="has opened by itself"):
        is_changed("confirmed", OPEN)


class KilledError(Exception):
    """The module's process is no more."""


class Machine:
    """nft and systemctl of a machine, as far as the module asks them; ends it after some steps."""

    def __init__(self) -> None:
        self.table = self.timed = self.retries = False
        self.steps_left = 1000

    def get_bin_path(self, program: str, **_: Any) -> str:
        return program

    def step(self) -> None:
        if self.steps_left == 0:
            raise KilledError
        self.steps_left -= 1

    def run_command(self, argv: list[str], **_: Any) -> tuple[int, str, str]:
        self.step()
        words = " ".join(argv)
        if words.startswith("nft --file"):
            self.table = True
        elif words.startswith("nft add"):
            self.table = False
        elif words.startswith("systemctl restart"):
            assert host_isolation.TIMER.exists()
            assert host_isolation.OPENER.exists()
            self.timed = True
        elif words.startswith("systemctl stop"):
            self.timed = self.timed and host_isolation.TIMER.name not in argv
            self.retries = False
        elif words.startswith("systemctl is-active"):
            timer = "active" if self.timed else "inactive"
            opener = "activating" if self.retries else "inactive"
            return (0 if self.timed else 3), f"{timer}\n{opener}\n", ""
        elif words.startswith("nft list table "):
            return (0 if self.table else 1), "", ""
        return 0, "", ""

    def time_passes(self) -> None:
        """What the timer starts, as its unit says it."""
        if self.timed or self.retries:
            host_isolation.KEEPER.unlink(missing_ok=True)
            self.table = self.timed = self.retries = False

    def opens_in_vain(self) -> None:
        """The time is over, and nft failed: systemd ends the timer and starts its service again."""
        host_isolation.KEEPER.unlink(missing_ok=True)
        self.timed, self.retries = False, True

    def starts_anew(self) -> None:
        self.timed = self.retries = False
        self.table = host_isolation.KEEPER.exists()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    for name in ("RULES", "KEEPER", "TIMER", "OPENER"):
        monkeypatch.setattr(
            host_isolation, name, tmp_path / getattr(host_isolation, name).relative_to("/")
        )
    monkeypatch.setattr(host_isolation, "_KEEPER_LINK", tmp_path / "link")
    host_isolation.KEEPER.parent.mkdir(parents=True)
    host_isolation.TIMER.parent.mkdir(parents=True)
    real = host_isolation._atomic_file

    def replaced(path: str, content: bytes, *, mode: int) -> None:
        machine.step()
        real.replace(path, content, mode=mode)

    files = SimpleNamespace(read=real.read, replace=replaced)
    monkeypatch.setattr(host_isolation, "_atomic_file", files)
    return machine


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_host_whose_module_is_killed_while_it_closes_opens_by_itself(
    machine: Machine, steps: int
) -> None:
    machine.steps_left = steps
    try:
        Host(machine).close("rules", 60)  # type: ignore[arg-type]
    except KilledError:
        assert steps < 8
    machine.time_passes()

    assert not machine.table


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_closed_host_that_is_closed_by_other_rules_never_loses_its_timer(
    machine: Machine, steps: int
) -> None:
    Host(machine).close("rules", 60)  # type: ignore[arg-type]

    machine.steps_left = steps
    try:
        Host(machine).close("other", 60)  # type: ignore[arg-type]
    except KilledError:
        assert steps < 8

    assert machine.timed


def test_a_host_that_a_killed_run_has_closed_can_be_taken_back_by_the_run_that_goes_on(
    machine: Machine,
) -> None:
    """Which says that it was changed: its time begins anew, and only a change has an undo."""
    wish = {"state": "closed", "operator": "192.0.2.7", "ssh_port": 22, "allow": [], "seconds": 60}
    host = Host(machine)  # type: ignore[arg-type]
    bring(host, wish, host.observe(), check=False)

    assert bring(host, wish, host.observe(), check=True)
    assert bring(host, wish, host.observe(), check=False)


@pytest.mark.parametrize("steps", range(1, 8))
def test_a_host_whose_module_is_killed_while_it_confirms_opens_or_stays_closed_for_good(
    machine: Machine, steps: int
) -> None:
    host = Host(machine)  # type: ignore[arg-type]
    host.close("rules", 60)

    machine.steps_left = steps
    try:
        host.confirm()
    except KilledError:
        assert steps < 7
    machine.time_passes()
    machine.steps_left = 1000

    assert host.observe().state in ("open", "confirmed")
    before = machine.table
    machine.starts_anew()
    assert machine.table is before


def test_a_host_that_opens_while_it_is_confirmed_is_said_to_be_open_and_stays_so(
    machine: Machine,
) -> None:
    host = Host(machine)  # type: ignore[arg-type]
    host.close("rules", 60)
    machine.table = False

    with pytest.raises(IsolationError, match="has opened by itself meanwhile"):
        host.confirm()

    machine.starts_anew()
    assert not machine.table


def test_a_host_that_tries_to_open_again_is_confirmed_and_stays_closed(machine: Machine) -> None:
    host = Host(machine)  # type: ignore[arg-type]
    host.close("rules", 60)
    machine.opens_in_vain()

    assert host.observe() == CLOSED
    host.confirm()
    machine.time_passes()

    assert host.observe() == CONFIRMED
    machine.starts_anew()
    assert machine.table


def test_a_host_that_tries_to_open_again_and_is_closed_anew_has_its_whole_time(
    machine: Machine,
) -> None:
    host = Host(machine)  # type: ignore[arg-type]
    host.close("rules", 60)
    machine.opens_in_vain()

    host.arm(60)

    assert machine.timed
    assert not machine.retries


def test_a_keeper_that_the_timer_took_away_before_it_was_stopped_is_there_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(machine)  # type: ignore[arg-type]
    host.close("rules", 60)
    run = machine.run_command

    def run_late(argv: list[str], **options: Any) -> tuple[int, str, str]:
        if argv[:2] == ["systemctl", "stop"]:
            host_isolation.KEEPER.unlink()
        return run(argv, **options)

    monkeypatch.setattr(machine, "run_command", run_late)
    host.confirm()

    machine.starts_anew()
    assert machine.table


class Opener:
    """The service that opens the host: its unit, and its command run with programs of ours."""

    def __init__(self, folder: Path) -> None:
        self.unit = ConfigParser(strict=False, interpolation=None)
        self.unit.optionxform = str  # type: ignore[assignment,method-assign]
        self.unit.read(host_isolation.OPENER)
        self.folder = folder

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self) -> int:
        argv = shlex.split(self.unit["Service"]["ExecStart"])
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(argv, env={"PATH": path}, check=False).returncode


@pytest.fixture
def opener(machine: Machine, tmp_path: Path) -> Opener:
    host = Host(machine)  # type: ignore[arg-type]
    host.close("rules", 60)
    host.confirm()
    host.arm(60)
    opener = Opener(tmp_path)
    opener.program("nft", f'echo "$@" >{tmp_path}/asked')
    return opener


def test_the_host_is_opened_for_now_and_for_its_next_start(opener: Opener) -> None:
    assert opener.run() == 0

    assert not host_isolation.KEEPER.exists()
    assert (opener.folder / "asked").read_text() == (
        "add table inet rollback_isolation; delete table inet rollback_isolation\n"
    )


def test_a_failure_of_nft_ends_the_service_with_a_failure(opener: Opener) -> None:
    opener.program("nft", "exit 1")

    assert opener.run() != 0


def test_rules_go_even_where_what_brings_them_back_cannot(opener: Opener) -> None:
    opener.program("rm", "exit 1")

    assert opener.run() != 0
    assert (opener.folder / "asked").exists()


def test_what_opens_the_host_is_tried_until_it_succeeds_and_never_hangs(opener: Opener) -> None:
    service = opener.unit["Service"]

    # A service that ends at once may be started again in every version of systemd only as simple.
    assert service["Type"] == "simple"
    assert service["Restart"] == "on-failure"
    assert opener.unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert set(service["RestartForceExitStatus"].split()) >= {"SIGTERM", "SIGHUP", "SIGINT"}
    assert int(service["RuntimeMaxSec"]) > 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_has_nothing_to_say_about_the_units(opener: Opener) -> None:
    for name in ("nft", "rm"):
        opener.program(name, "exit 0")
    for path in (host_isolation.OPENER, host_isolation.TIMER, host_isolation.KEEPER):
        text = path.read_text().replace("=sh ", "=/bin/sh ").replace("=nft ", "=/bin/true ")
        path.write_text(text)
        shown = subprocess.run(
            ["systemd-analyze", "verify", "--recursive-errors=no", path],
            capture_output=True,
            text=True,
            check=False,
        )

        assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


def test_a_host_without_systemd_is_not_closed(machine: Machine) -> None:
    host_isolation.TIMER.parent.rmdir()

    with pytest.raises(IsolationError, match="nothing would open it again"):
        Host(machine).close("rules", 60)  # type: ignore[arg-type]

    assert not machine.table


@pytest.mark.parametrize("steps", range(2))
def test_a_host_whose_module_is_killed_while_it_opens_is_opened_by_the_next_run(
    machine: Machine, steps: int
) -> None:
    host = Host(machine)  # type: ignore[arg-type]
    host.close("rules", 60)
    host.confirm()

    machine.steps_left = steps
    with pytest.raises(KilledError):
        host.open()
    machine.steps_left = 1000
    assert is_changed("open", host.observe())
    host.open()

    assert host.observe() == OPEN
    machine.starts_anew()
    assert host.observe() == OPEN
