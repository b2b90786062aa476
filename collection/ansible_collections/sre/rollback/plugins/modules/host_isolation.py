#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_isolation
short_description: Close a breached host to everybody but its operator, and open it again
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - With V(closed), nothing comes in or goes out but loopback, the operator's SSH connection, the
    hosts of O(allow), and what a host needs to keep its address (DHCP, IPv6 neighbours).
    Connections that were open are cut, too.
  - It is a dead man's switch. The host opens by itself O(seconds) later, unless V(confirmed)
    comes before, which is to be sent over a new connection. systemd opens it, and tries until it is
    open, so it does not matter what became of this module or of the connection; a host that starts
    anew before is open, too.
  - V(closed) on a host that is closed already lets the time begin anew.
  - With V(confirmed), it stays closed. A host that starts anew is closed before it has a network,
    and lets the same operator in.
  - With V(open), everything is as before. Other tables of nftables are never touched.
  - The rules have a table of their own, which is made in one transaction. A program that flushes
    all rules of nftables takes it away, too; the next V(closed) brings it back.
options:
  state:
    description: What the host shall be.
    type: str
    choices: [closed, confirmed, open]
    required: true
  operator:
    description:
      - Address that SSH connections of the operator come from, as the host sees it; that of the
        last jump host where there is one. Required by V(closed).
    type: str
  ssh_port:
    description: The port of the SSH server on the host.
    type: int
    default: 22
  allow:
    description:
      - Addresses or networks that may be talked with in both directions, and that may talk with
        each other through this host, which containers do.
    type: list
    elements: str
    default: []
  seconds:
    description: Until the host opens by itself.
    type: int
    default: 120
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
requirements:
  - nftables and systemd on the host
"""

EXAMPLES = r"""
- name: Host is closed to everybody but us
  sre.rollback.host_isolation:
    state: closed
    operator: 192.0.2.7
    seconds: 120

- name: Host stays closed, since we still reach it
  sre.rollback.host_isolation:
    state: confirmed

- name: Host is open again
  sre.rollback.host_isolation:
    state: open
"""

RETURN = r"""
before:
  description: Whether it was open, closed for a while, or closed until somebody opens it.
  returned: success
  type: str
  sample: open
after:
  description: The same afterwards.
  returned: success
  type: str
  sample: closed
undo:
  description: The module and arguments that bring back what was; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.host_isolation
    args: {state: open}
"""

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._isolation_rules import (
    TABLE,
    IsolationError,
    peers,
    ruleset,
)

RULES = Path("/etc/rollback-playbook/isolation.nft")
#: Closes the host when it starts anew, once that was confirmed.
KEEPER = Path("/etc/systemd/system/rollback-isolation.service")
_KEEPER_LINK = Path("/etc/systemd/system/sysinit.target.wants") / KEEPER.name
#: Opens the host; in /run, so that it is gone with the rules when the host starts anew.
TIMER = Path("/run/systemd/system/rollback-isolation-opens.timer")
OPENER = TIMER.with_suffix(".service")
_NO_TABLE = f"add table inet {TABLE}; delete table inet {TABLE}"
#: Before anything has a network, and after the distribution's own rules, which flush all others.
_KEEPER_TEXT = f"""[Unit]
Description=This host was isolated by rollback-playbook
DefaultDependencies=no
After=local-fs.target nftables.service
Before=network-pre.target
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={{nft}} -f {RULES}
[Install]
WantedBy=sysinit.target
"""
#: The keeper goes first, so a host that loses its power half-way starts open. In one shell: rules
#: go even where the keeper cannot (a read-only disk), and it is done when both are gone. It tries
#: until then (no memory, a busy kernel), since nobody could come in to do it; signals that end a
#: service in peace elsewhere are no reason to stop.
_OPENER_TEXT = f"""[Unit]
Description=Opens this host, since nobody confirmed its isolation
StartLimitIntervalSec=0
[Service]
Type=simple
ExecStart={{sh}} -c "{{rm}} -f {{links}}; {{nft}} '{_NO_TABLE}' && {{rm}} -f {{links}}"
RuntimeMaxSec=60
Restart=on-failure
RestartForceExitStatus=SIGHUP SIGINT SIGTERM SIGPIPE
RestartSec=5
"""
_TIMER_TEXT = """[Unit]
Description=Opens this host, unless its isolation is confirmed
[Timer]
OnActiveSec={seconds}
AccuracySec=1s
RemainAfterElapse=no
"""


@dataclass(frozen=True)
class Seen:
    """What there is: the rules, the timer that opens, the unit that closes anew."""

    table: bool
    timed: bool
    kept: bool

    @property
    def state(self) -> str:
        """open, closed or confirmed."""
        if not self.table:
            return "open"
        return "confirmed" if self.kept and not self.timed else "closed"


def is_changed(wanted: str, seen: Seen, *, same_rules: bool = True) -> bool:
    """Whether something is to be done. Raises IsolationError when there is nothing to confirm."""
    if wanted == "open":
        return seen.table or seen.timed or seen.kept
    if wanted == "closed":
        return not (seen.table and same_rules and (seen.timed or seen.kept))
    if not seen.table:
        raise IsolationError(
            "The host was never closed, or it has opened by itself since nobody confirmed in time."
        )
    return seen.state != "confirmed"


class Host:
    """The firewall and the timer of this host. Methods raise IsolationError and OSError.

    Each may end anywhere: what opens the host is there before what closes it.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def observe(self) -> Seen:
        """What there is; raises IsolationError when nft cannot be asked."""
        self._run("nft", "list", "tables")
        return Seen(
            table=self._has_table(),
            timed=self._will_open(),
            kept=KEEPER.exists(),
        )

    def has(self, rules: str) -> bool:
        """Whether these are the rules it was closed with."""
        return _atomic_file.read(str(RULES)) == rules.encode()

    def close(self, rules: str, seconds: int) -> None:
        """Closed until the timer opens it."""
        self._run("nft", "--check", "--file", "-", data=rules)
        RULES.parent.mkdir(mode=0o755, exist_ok=True)
        _atomic_file.replace(str(RULES), rules.encode(), mode=0o600)
        self.arm(seconds)
        self._run("nft", "--file", str(RULES))

    def arm(self, seconds: int) -> None:
        """The timer opens the host so many seconds from now."""
        if not TIMER.parent.is_dir():
            raise IsolationError("systemd does not run this host, so nothing would open it again.")
        programs = {name: self._path(name) for name in ("nft", "rm", "sh")}
        opener = _OPENER_TEXT.format(links=f"{KEEPER} {_KEEPER_LINK}", **programs)
        _atomic_file.replace(str(OPENER), opener.encode(), mode=0o644)
        timer = _TIMER_TEXT.format(seconds=seconds)
        _atomic_file.replace(str(TIMER), timer.encode(), mode=0o644)
        self._run("systemctl", "daemon-reload")
        # One job of systemd's: there is no moment without a timer when there was one before.
        self._run("systemctl", "restart", TIMER.name)
        # An earlier one may be about to try again.
        self._run("systemctl", "stop", OPENER.name)

    def confirm(self) -> None:
        """It stays closed, and is closed again when the host starts anew."""
        self._keep()
        self._disarm()
        if not self._has_table():
            self._forget()
            raise IsolationError("The host has opened by itself meanwhile. Close it again.")
        # The timer's service was stopped when it had done the first half.
        if not KEEPER.exists():
            self._keep()

    def open(self) -> None:
        """The table goes, and what would bring it back."""
        self._forget()
        self._run("nft", _NO_TABLE)
        self._disarm()

    def _keep(self) -> None:
        keeper = _KEEPER_TEXT.format(nft=self._path("nft"))
        _atomic_file.replace(str(KEEPER), keeper.encode(), mode=0o644)
        self._run("systemctl", "daemon-reload")
        self._run("systemctl", "--quiet", "enable", KEEPER.name)

    def _forget(self) -> None:
        for path in (_KEEPER_LINK, KEEPER):
            if path.is_symlink() or path.exists():
                path.unlink()
        self._run("systemctl", "daemon-reload")

    def _disarm(self) -> None:
        """Neither the timer nor what it started runs any more."""
        if TIMER.exists():
            self._run("systemctl", "stop", TIMER.name, OPENER.name)
            TIMER.unlink()
            OPENER.unlink()
            self._run("systemctl", "daemon-reload")

    def _has_table(self) -> bool:
        argv = [self._path("nft"), "list", "table", "inet", TABLE]
        return int(self._module.run_command(argv)[0]) == 0

    def _will_open(self) -> bool:
        """Whether the timer waits, or what it started runs or is about to try again."""
        argv = [self._path("systemctl"), "is-active", TIMER.name, OPENER.name]
        # Its exit code takes a service that waits for its next try for one that has ended.
        return not {"active", "activating"}.isdisjoint(self._module.run_command(argv)[1].split())

    def _path(self, program: str) -> str:
        path = self._module.get_bin_path(program)
        if path is None:
            raise IsolationError(f"There is no program {program} on the host; install it.")
        return str(path)

    def _run(self, program: str, *words: str, data: str | None = None) -> None:
        code, out, err = self._module.run_command([self._path(program), *words], data=data)
        if code != 0:
            said = (err.strip() or out.strip())[-500:]
            raise IsolationError(f"{program} {words[0]} ended with {code}: {said}.")


def bring(host: Host, params: t.Mapping[str, t.Any], seen: Seen, *, check: bool) -> bool:
    """Bring the host to the state that is asked for; whether that changed it."""
    wanted = params["state"]
    if wanted != "closed":
        changed = is_changed(wanted, seen)
        if changed and not check:
            {"open": host.open, "confirmed": host.confirm}[wanted]()
        return changed
    operator, allow = peers(params["operator"], params["allow"])
    rules = ruleset(operator, params["ssh_port"], allow)
    changed = is_changed(wanted, seen, same_rules=host.has(rules))
    if changed and not check:
        host.close(rules, params["seconds"])
    elif seen.timed and not check:
        host.arm(params["seconds"])
    return changed or seen.timed


def argument_spec() -> dict:
    return {
        "state": {"type": "str", "required": True, "choices": ["closed", "confirmed", "open"]},
        "operator": {"type": "str"},
        "ssh_port": {"type": "int", "default": 22},
        "allow": {"type": "list", "elements": "str", "default": []},
        "seconds": {"type": "int", "default": 120},
    }


def describe(host: Host, exc: Exception) -> str:
    """What went wrong, and whether the host is open or closed now."""
    try:
        state = {"confirmed": "closed for good"}.get(host.observe().state, host.observe().state)
    except IsolationError:
        return f"{exc} Nothing was changed."
    return f"{exc} The host is {state} now."


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "closed", ["operator"])],
        supports_check_mode=True,
    )
    host = Host(module)
    wanted = module.params["state"]
    try:
        before = host.observe()
        changed = bring(host, module.params, before, check=module.check_mode)
        after = wanted if changed and module.check_mode else host.observe().state
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=describe(host, exc), **getattr(exc, "result", {}))
    undo = {"module": "sre.rollback.host_isolation", "args": {"state": "open"}}
    # Also closed by a run that was killed before it could say so: this one can take it back.
    closes = changed and before.state in ("open", "closed") and wanted == "closed"
    module.exit_json(
        changed=changed, before=before.state, after=after, undo=undo if closes else None
    )


if __name__ == "__main__":
    main()
