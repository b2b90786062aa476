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
    the folder of git, which names the commits, and the next run does all three again. It then
    replaces files that have the content of one of these commits, or the beginning of one.
  - A lock that a killed git left is removed. While a git is at work in the work tree, it ends
    before anything is stopped.
  - When the checkout fails, the files and O(links) are put back and what was stopped is started
    again. When they cannot be put back, as on a full disk, what was stopped stays stopped, and the
    message says so; the next run finishes it.
  - Files of the work tree that were changed by hand end it before anything is touched, also between
    a run that was killed and the next.
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
  timeout:
    description:
      - Seconds that each command of O(stop) and O(start) may take. One that is not done by then is
        told to end, and has failed.
    type: float
    default: 300
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
      whether a start was still due. After a run that was cut short, what was there before that run.
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
  returned: success, and a failure after which something may be stopped
  type: dict
  sample:
    module: sre.rollback.release_checkout
    args: {root: /srv/shop, version: 1.1.0, stop: [[systemctl, stop, shop]]}
"""

import json
import os
import time
import typing as t
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._commands import (
    CommandError,
    run_in_turn,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._git_tree import (
    CheckoutError,
    Git,
    MixedFiles,
    require_idle,
    unlock,
)


@dataclass(frozen=True)
class Observed:
    """What is checked out. ``links`` has None where there is no link."""

    version: str
    commit: str
    links: dict[str, str | None]
    start_due: bool


@dataclass(frozen=True)
class Note:
    """Stands in git's folder from before the stop until after the start.

    ``commits`` are those whose files may be in the work tree, the one aimed at last. ``before`` and
    ``links`` are what was there before the first attempt; a note of 0.1.0 does not know them.
    """

    commits: tuple[str, ...]
    before: str | None = None
    links: t.Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def parsed(cls, content: bytes) -> Note:
        text = content.decode("utf-8", "replace").strip()
        try:
            said = json.loads(text)
            return cls(tuple(said["commits"]), said["before"], dict(said["links"]))
        except (ValueError, LookupError, TypeError):
            # A note of 0.1.0 is the commit aimed at, and nothing else.
            return cls((text,))

    @property
    def content(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class WorkTree:
    """A git work tree, and what is started from it."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.root = Path(module.params["root"])
        self._git = Git(module, self.root)

    def note(self) -> Note | None:
        """None when no attempt was cut short. Raises CheckoutError, FileError."""
        content = _atomic_file.read(str(self._note_path))
        if content is None:
            return None
        note = Note.parsed(content)
        commits = tuple(commit for commit in note.commits if self._git.has(commit))
        before = note.before if note.before and self._git.has(note.before) else None
        return replace(note, commits=commits, before=before)

    def observe(self, links: t.Iterable[str]) -> Observed:
        """Raises CheckoutError when it is no work tree."""
        commit = self._git.text("rev-parse", "--verify", "HEAD^{commit}")
        leads = {name: self._link(name) for name in links}
        return Observed(self._version_of(commit), commit, leads, self._note_path.exists())

    def before(self, note: Note | None, found: Observed) -> Observed:
        """What was there before an attempt that was cut short, or what was found."""
        if note is None or note.before is None:
            return found
        return replace(
            found,
            version=self._version_of(note.before),
            commit=note.before,
            links={**found.links, **note.links},
        )

    def commit_of(self, version: str) -> str:
        """Raises CheckoutError when the repository has no such tag or commit."""
        words = ("rev-parse", "--verify", "--end-of-options", f"{version}^{{commit}}")
        try:
            return self._git.text(*words)
        except CheckoutError as exc:
            raise CheckoutError(
                f"there is no tag {version!r} in {self.root}. Nothing was changed. Fetch it there "
                "with git fetch --tags, or name another."
            ) from exc

    def require_clean(self) -> None:
        """Raises CheckoutError naming files that were changed by hand."""
        changed = self._git.text("status", "--porcelain", "--untracked-files=no")
        if changed:
            raise CheckoutError(
                f"files in {self.root} were changed by hand and would be lost: "
                f"{', '.join(line[2:].strip() for line in changed.splitlines()[:10])}. Nothing was "
                "changed. Commit them or take them back, then run this again."
            )

    def require_ours(self, files: MixedFiles, commit: str) -> None:
        """The same after an attempt that was cut short, whose own files are none of these."""
        _ours, others = files.differing(commit)
        if others:
            raise CheckoutError(
                f"an attempt before was cut short, so what runs from {self.root} may be stopped. "
                "Files there are of neither release: they were changed by hand since and would be "
                f"lost: {', '.join(others[:10])}. Nothing was changed. Copy them elsewhere and "
                "remove them there, then run this again."
            )

    def require_idle(self) -> None:
        """Raises CheckoutError when a git is at work there."""
        require_idle(self._git)

    def mixed_files(self, *commits: str) -> MixedFiles:
        return MixedFiles(self._git, dict.fromkeys(commits))

    def change(
        self, note: Note, files: MixedFiles, links: t.Mapping[str, str], before: Observed
    ) -> None:
        """Stop, check out, start. Raises CheckoutError."""
        # Before anything is stopped: one that a git left behind when it was killed is in the way.
        unlock(self._git)
        self._write(note, before)
        state = f"{before.version} is checked out"
        self._run_all("stop", "an attempt was cut short" if before.start_due else state, before)
        try:
            if before.start_due:
                self._force(files, note.commits[-1])
            else:
                self._git.text("checkout", "--quiet", "--detach", note.commits[-1])
                files.require_written(note.commits[-1])
            for name, leads_to in links.items():
                self._point(name, leads_to)
        except (CheckoutError, OSError) as exc:
            self._go_back(files, before, exc)
            self._run_all("start", f"{before.version} is checked out again", before)
            _atomic_file.remove(str(self._note_path))
            raise CheckoutError(
                f"it could not be checked out: {exc} What ran before was started again."
            ) from exc
        self._run_all("start", f"{self.observe(links).version} is checked out", before)
        _atomic_file.remove(str(self._note_path))

    @property
    def _note_path(self) -> Path:
        return Path(self._git.text("rev-parse", "--absolute-git-dir")) / "rollback-start-due"

    def _version_of(self, commit: str) -> str:
        tags = self._git.text("tag", "--points-at", commit).split()
        return tags[0] if tags else commit

    def _write(self, note: Note, before: Observed) -> None:
        path = str(self._note_path)
        # On a disk that is full, the note of the attempt before says it as well.
        if _atomic_file.read(path) == note.content:
            return
        try:
            _atomic_file.replace(path, note.content, mode=0o600)
        except _atomic_file.FileError as exc:
            state = "is still stopped by an attempt that was cut short" if before.start_due else ""
            raise CheckoutError(
                f"{exc} What runs from {self.root} {state or 'was not stopped'}. Mend that, then "
                "run this again."
            ) from exc

    def _force(self, files: MixedFiles, commit: str) -> None:
        unlock(self._git)
        self._git.text("checkout", "--quiet", "--force", "--detach", commit)
        files.require_written(commit)
        files.remove_leftovers(commit)

    def _go_back(self, files: MixedFiles, before: Observed, why: Exception) -> None:
        """The files and links of ``before``; raises CheckoutError when it may be a mixture."""
        try:
            ours, others = files.differing(before.commit)
            # Git looks first: where others' files were in its way, it has changed nothing.
            if others and ours:
                raise CheckoutError(f"changed by hand meanwhile: {', '.join(others[:10])}.")
            if not others and (ours or not self._is_at(before.commit)):
                self._force(files, before.commit)
            elif not others:
                files.remove_leftovers(before.commit)
            for name, leads_to in before.links.items():
                self._point(name, leads_to)
        except (CheckoutError, OSError) as exc:
            raise CheckoutError(
                f"it could not be checked out: {why} {before.version} could not be put back "
                f"either: {exc} The files in {self.root} are a mixture of releases, and what runs "
                "from it was stopped and stays so. Mend that, such as by making room, then run "
                "this again or continue the incident.",
                undo=undo_to(self._module.params, before),
            ) from exc

    def _is_at(self, commit: str) -> bool:
        head = self._git.text("rev-parse", "--verify", "HEAD^{commit}")
        words = ("diff-index", "--cached", "--name-only", "-z", commit)
        return head == commit and not self._git.names(*words)

    def _link(self, name: str) -> str | None:
        path = self.root / name
        if path.exists() and not path.is_symlink():
            raise CheckoutError(f"{path} is not a link. Nothing was changed.")
        # Path.readlink came with Python 3.9.
        return os.readlink(path) if path.is_symlink() else None

    def _point(self, name: str, leads_to: str | None) -> None:
        if self._link(name) == leads_to:
            return
        if leads_to is None:
            (self.root / name).unlink()
            return
        fresh = self.root / f".{name}.new"
        if fresh.is_symlink():
            fresh.unlink()
        fresh.symlink_to(leads_to)
        fresh.replace(self.root / name)

    def _run_all(self, what: str, state: str, before: Observed) -> None:
        try:
            run_in_turn(self._module.params[what], timeout=self._module.params["timeout"])
        except CommandError as exc:
            raise CheckoutError(
                f"{state}, but {exc}. Mend it and run this again.",
                # Something may be stopped, so it is not as if nothing had happened.
                undo=undo_to(self._module.params, before),
            ) from exc


def undo_of(params: t.Mapping[str, t.Any], before: Observed, after: Observed) -> dict | None:
    if (before.commit, before.links) == (after.commit, after.links):
        return None
    return undo_to(params, before)


def undo_to(params: t.Mapping[str, t.Any], before: Observed) -> dict:
    args = {name: params[name] for name in ("root", "stop", "start", "timeout")}
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
        "timeout": {"type": "float", "default": 300},
    }


def apply(module: AnsibleModule, tree: WorkTree) -> tuple[bool, Observed, Observed]:
    """Changed, what was and what is; raises RollbackError."""
    links = {str(name): str(leads_to) for name, leads_to in module.params["links"].items()}
    found, note = tree.observe(links), tree.note()
    commit = tree.commit_of(module.params["version"])
    if (found.commit, found.links, note) == (commit, links, None):
        return False, found, found
    before = tree.before(note, found)
    commits = [*(note.commits if note else ()), found.commit, before.commit, commit]
    files = tree.mixed_files(*commits)
    tree.require_idle()
    if note is None:
        tree.require_clean()
        files.spare_unknown(before.commit)
    else:
        tree.require_ours(files, commit)
    if module.check_mode:
        predicted = replace(before, commit=commit, links={**before.links, **links})
        predicted = replace(predicted, start_due=False, version=module.params["version"])
        return True, before, predicted
    # The one aimed at comes last.
    commits = [*(each for each in dict.fromkeys(commits) if each != commit), commit]
    tree.change(Note(tuple(commits), before.commit, before.links), files, links, before)
    return True, before, tree.observe(before.links)


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
