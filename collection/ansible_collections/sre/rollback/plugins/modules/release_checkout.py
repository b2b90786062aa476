#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_checkout
short_description: Check out another tag in a work tree, with what runs from it stopped
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - For applications that run from a git work tree. Files change one by one while git checks out, so
    what runs is stopped before and started after it.
  - Stop, checkout and start are one step. A run that was killed in between is known by a note in
    the folder of git, and the next run does all three again.
  - When the checkout fails, what was stopped is started again as it was.
  - Files of the work tree that were changed by hand end it before anything is touched.
  - Nothing is fetched; the tag has to be in the repository.
options:
  root:
    description: The work tree.
    type: path
    required: true
  version:
    description: Tag or commit to check out.
    type: str
    required: true
  links:
    description:
      - Links in the work tree and where each has to lead, set between stop and start, such as
        one to the environment with the packages of O(version). Git has to ignore them.
    type: dict
    default: {}
  stop:
    description: Commands that stop what runs, each a list of its arguments.
    type: list
    elements: list
    default: []
  start:
    description: Commands that start it, each a list of its arguments.
    type: list
    elements: list
    default: []
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
seealso:
  - module: sre.rollback.release_link
  - module: ansible.builtin.git
"""

EXAMPLES = r"""
- name: Release 1.0.0 runs
  sre.rollback.release_checkout:
    root: /srv/shop
    version: 1.0.0
    stop:
      - [systemctl, stop, shop]
    start:
      - [systemctl, start, shop]
"""

RETURN = r"""
before:
  description:
    - The tag that was checked out, or the commit where it has none; its commit, the links, and
      whether a start was still due.
  returned: success
  type: dict
  sample: {version: 1.1.0, commit: 5f0c…, links: {}, start_due: false}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {version: 1.0.0, commit: 9a1b…, links: {}, start_due: false}
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 1.2
undo:
  description: The module and arguments that bring back what was; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.release_checkout
    args: {root: /srv/shop, version: 1.1.0, stop: [[systemctl, stop, shop]]}
"""

import os
import time
import typing as t
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError


class CheckoutError(RollbackError):
    """The work tree is not as asked for; the message says what runs."""


@dataclass(frozen=True)
class Observed:
    """What is checked out. ``links`` has None where there is no link."""

    version: str
    commit: str
    links: dict[str, str | None]
    start_due: bool


class WorkTree:
    """A git work tree, and what is started from it."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.root = Path(module.params["root"])

    @property
    def note(self) -> Path:
        """Stands in git's folder from before the stop until after the start."""
        return Path(self._git("rev-parse", "--absolute-git-dir")) / "rollback-start-due"

    def observe(self, links: t.Iterable[str]) -> Observed:
        """Raises CheckoutError when it is no work tree."""
        commit = self._git("rev-parse", "--verify", "HEAD^{commit}")
        tags = self._git("tag", "--points-at", commit).split()
        leads = {name: self._link(name) for name in links}
        return Observed(tags[0] if tags else commit, commit, leads, self.note.exists())

    def commit_of(self, version: str) -> str:
        """Raises CheckoutError when the repository has no such tag or commit."""
        try:
            return self._git("rev-parse", "--verify", "--end-of-options", f"{version}^{{commit}}")
        except CheckoutError as exc:
            raise CheckoutError(
                f"there is no tag {version!r} in {self.root}. Nothing was changed. Fetch it there "
                "with git fetch --tags, or name another."
            ) from exc

    def require_clean(self) -> None:
        """Raises CheckoutError naming files that were changed by hand."""
        changed = self._git("status", "--porcelain", "--untracked-files=no")
        if changed:
            raise CheckoutError(
                f"files in {self.root} were changed by hand and would be lost: "
                f"{', '.join(line[2:].strip() for line in changed.splitlines()[:10])}. Nothing was "
                "changed. Commit them or take them back, then run this again."
            )

    def change(self, commit: str, links: t.Mapping[str, str], before: Observed) -> None:
        """Stop, check out, start. Raises CheckoutError."""
        _atomic_file.replace(str(self.note), commit.encode(), mode=0o600)
        self._run_all("stop", before.version)
        try:
            self._git("checkout", "--quiet", "--detach", commit)
            for name, leads_to in links.items():
                self._point(name, leads_to)
        except (CheckoutError, OSError) as exc:
            self._run_all("start", before.version)
            raise CheckoutError(
                f"it could not be checked out: {exc} What ran before was started again."
            ) from exc
        self._run_all("start", self.observe(links).version)
        _atomic_file.remove(str(self.note))

    def _git(self, *words: str) -> str:
        argv = ["git", "-c", f"safe.directory={self.root}", "-C", str(self.root), *words]
        code, out, err = self._module.run_command(argv, environ_update={"LC_ALL": "C.UTF-8"})
        if code != 0:
            said = (err.strip() or out.strip())[-500:]
            raise CheckoutError(f"git {words[0]} in {self.root} ended with {code}: {said}.")
        return str(out).strip()

    def _link(self, name: str) -> str | None:
        path = self.root / name
        if path.exists() and not path.is_symlink():
            raise CheckoutError(f"{path} is not a link. Nothing was changed.")
        # Path.readlink came with Python 3.9.
        return os.readlink(path) if path.is_symlink() else None

    def _point(self, name: str, leads_to: str) -> None:
        fresh = self.root / f".{name}.new"
        if fresh.is_symlink():
            fresh.unlink()
        fresh.symlink_to(leads_to)
        fresh.replace(self.root / name)

    def _run_all(self, what: str, version: str) -> None:
        for argv in self._module.params[what]:
            code, out, err = self._module.run_command([str(word) for word in argv])
            if code != 0:
                said = (err.strip() or out.strip())[-500:]
                raise CheckoutError(
                    f"{version} is checked out, but {' '.join(map(str, argv))} ended with {code}: "
                    f"{said}. Mend it and run this again."
                )


def undo_of(params: t.Mapping[str, t.Any], before: Observed, after: Observed) -> dict | None:
    if (before.commit, before.links) == (after.commit, after.links):
        return None
    args = {name: params[name] for name in ("root", "stop", "start")}
    links = {name: leads for name, leads in before.links.items() if leads is not None}
    args.update(version=before.version, links=links)
    return {"module": "sre.rollback.release_checkout", "args": args}


def argument_spec() -> dict:
    return {
        "root": {"type": "path", "required": True},
        "version": {"type": "str", "required": True},
        "links": {"type": "dict", "default": {}},
        "stop": {"type": "list", "elements": "list", "default": []},
        "start": {"type": "list", "elements": "list", "default": []},
    }


def apply(module: AnsibleModule, tree: WorkTree) -> tuple[bool, Observed, Observed]:
    """Changed, what was and what is; raises RollbackError."""
    links = {str(name): str(leads_to) for name, leads_to in module.params["links"].items()}
    before = tree.observe(links)
    commit = tree.commit_of(module.params["version"])
    changed = before.commit != commit or before.links != links or before.start_due
    if not changed:
        return False, before, before
    tree.require_clean()
    if module.check_mode:
        predicted = replace(before, commit=commit, links=dict(links), start_due=False)
        return True, before, replace(predicted, version=module.params["version"])
    tree.change(commit, links, before)
    return True, before, tree.observe(links)


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    started = time.monotonic()
    try:
        changed, before, after = apply(module, WorkTree(module))
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    result = {
        "changed": changed,
        "before": asdict(before),
        "after": asdict(after),
        "elapsed": round(time.monotonic() - started, 3),
        "undo": undo_of(module.params, before, after),
    }
    if module._diff:
        result["diff"] = {"before": asdict(before), "after": asdict(after)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
