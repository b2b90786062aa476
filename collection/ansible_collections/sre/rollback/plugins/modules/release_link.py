#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_link
short_description: Point the link of the current release at another one, and restart what runs it
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - For releases that lie side by side in one folder each, with a link to the current one.
  - The link is replaced by C(rename(2)), so there is no moment without one.
  - Link and restart are one step. A run that was killed in between is known by a note beside the
    link, and the next run restarts even though the link is right already.
options:
  root:
    description: Folder that holds the releases and the link.
    type: path
    required: true
  version:
    description: The release to point at, a folder in O(releases).
    type: str
    required: true
  link:
    description: Name of the link.
    type: str
    default: current
  releases:
    description: Name of the folder of the releases.
    type: str
    default: releases
  restart:
    description: Commands that restart what runs the release, each a list of its arguments.
    type: list
    elements: list
    default: []
  timeout:
    description:
      - Seconds that each command of O(restart) may take. One that is not done by then is told to
        end, and has failed.
    type: float
    default: 300
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
seealso:
  - module: ansible.builtin.file
"""

EXAMPLES = r"""
- name: Release 1.0.0 runs
  sre.rollback.release_link:
    root: /srv/shop
    version: 1.0.0
    restart:
      - [systemctl, restart, shop]
"""

RETURN = r"""
before:
  description: The release that the link pointed at, and whether its restart was still due.
  returned: success
  type: dict
  sample: {version: 1.1.0, restart_due: false}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {version: 1.0.0, restart_due: false}
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 0.3
undo:
  description: The module and arguments that bring back what was; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.release_link
    args: {root: /srv/shop, version: 1.1.0, restart: [[systemctl, restart, shop]]}
"""

import contextlib
import time
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._commands import (
    CommandError,
    run_in_turn,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError


class ReleaseError(RollbackError):
    """The release is not as asked for; the message says which one the link points at."""


@dataclass(frozen=True)
class Observed:
    """``version`` is None where there is no link yet."""

    version: str | None
    restart_due: bool


@dataclass(frozen=True)
class Releases:
    """The folder of the releases and the link in it."""

    root: Path
    link: str
    folder: str

    @property
    def note(self) -> Path:
        """Stands beside the link from before it changes until after the restart."""
        return self.root / f".{self.link}.restart-due"

    def observe(self) -> Observed:
        """Raises ReleaseError when something else than a link is in its place."""
        link = self.root / self.link
        if link.exists() and not link.is_symlink():
            raise ReleaseError(f"{link} is not a link. Nothing was changed.")
        version = Path(str(link.resolve())).name if link.is_symlink() else None
        return Observed(version, self.note.exists())

    def require(self, version: str) -> None:
        """Raises ReleaseError when there is no such release."""
        target = self.root / self.folder / version
        if version in ("", ".", "..") or "/" in version or not target.is_dir():
            raise ReleaseError(
                f"there is no release {version!r} in {self.root / self.folder}. Nothing was "
                "changed."
            )

    def point_at(self, version: str) -> None:
        """Raises ReleaseError; the link is as it was then."""
        _atomic_file.replace(str(self.note), version.encode(), mode=0o600)
        fresh = self.root / f".{self.link}.new"
        try:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            fresh.symlink_to(Path(self.folder) / version)
            fresh.replace(self.root / self.link)
        except OSError as exc:
            raise ReleaseError(
                f"the link {self.root / self.link} cannot be replaced: {exc.strerror}. It is as "
                "it was."
            ) from exc


def restart(module: AnsibleModule, releases: Releases, version: str) -> None:
    """Run the commands; raises ReleaseError naming the one that failed."""
    try:
        run_in_turn(module.params["restart"], timeout=module.params["timeout"])
    except CommandError as exc:
        raise ReleaseError(
            f"the link points at {version}, but {exc}. What ran before may still run. Mend it and "
            "run this again."
        ) from exc
    _atomic_file.remove(str(releases.note))


def act(module: AnsibleModule, releases: Releases, before: Observed, version: str) -> None:
    if before.version != version:
        releases.point_at(version)
    restart(module, releases, version)


def undo_of(params: t.Mapping[str, t.Any], before: Observed) -> dict | None:
    if before.version in (None, params["version"]):
        return None
    names = ("root", "link", "releases", "restart", "timeout")
    args = {**{name: params[name] for name in names}, "version": before.version}
    return {"module": "sre.rollback.release_link", "args": args}


def argument_spec() -> dict:
    return {
        "root": {"type": "path", "required": True},
        "version": {"type": "str", "required": True},
        "link": {"type": "str", "default": "current"},
        "releases": {"type": "str", "default": "releases"},
        "restart": {"type": "list", "elements": "list", "default": []},
        "timeout": {"type": "float", "default": 300},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    started = time.monotonic()
    version = params["version"]
    releases = Releases(Path(params["root"]), params["link"], params["releases"])
    try:
        before = releases.observe()
        releases.require(version)
        changed = before.version != version or before.restart_due
        if changed and not module.check_mode:
            act(module, releases, before, version)
        after = Observed(version, False) if module.check_mode else releases.observe()
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    result = {
        "changed": changed,
        "before": asdict(before),
        "after": asdict(after),
        "elapsed": round(time.monotonic() - started, 3),
        "undo": undo_of(params, before),
    }
    if module._diff:
        result["diff"] = {"before": asdict(before), "after": asdict(after)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
