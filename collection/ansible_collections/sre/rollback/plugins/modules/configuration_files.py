#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration_files
short_description: Back up a set of configuration files, and restore it, tested before the reload
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Keeps files that belong together, such as a certificate and its key, in timestamped backups, and
    puts a backup back as a whole.
  - A restore first keeps what it replaces, then writes the files, runs O(validate), and runs
    O(reload) only when that passed. When either fails, what was there is put back.
  - Every file is replaced in one step with the mode and owner it had. A run that was killed
    half-way is finished by the next one of these files, which reloads even though the files are
    right already. A restore of other files is not hindered by that and leaves it to be finished;
    one of some of these files alone is refused.
  - A backup that is not whole, or was changed since, is refused before anything is changed.
  - The difference shows files that everybody on the host may read. Of others it shows the hash.
options:
  state:
    description:
      - V(backed_up) makes a backup, unless the newest one holds exactly this.
      - V(restored) puts the files back as O(backup) has them.
    type: str
    choices: [backed_up, restored]
    default: restored
  paths:
    description:
      - The files. What is missing is kept as missing, and a restore removes it.
      - A restore may name some of the files of a backup, or none, which are all of O(backup).
    type: list
    elements: path
  backup_dir:
    description: Folder of the backups; made when it is missing, for its owner alone.
    type: path
    required: true
  backup:
    description:
      - Id of the backup to restore.
      - Without it, the newest one that holds all O(paths) and was not made by a restore. When that
        one is damaged, or a newer one does not say what it is of, it is refused by its name, so
        that an older one is only taken on purpose.
    type: str
  keep_as:
    description:
      - Id of the backup that a restore makes of what it replaces, such as the incident's, so that
        check mode knows it too. An id of its own when it is empty.
      - A backup of these files that has it already stays as it is, since it was made by the first
        attempt.
    type: str
    default: ""
  label:
    description: What a new backup is of, such as a release.
    type: str
    default: ""
  retention:
    description:
      - How many backups to keep after a new one was made; V(0) keeps all.
      - Those that restores made of what they replaced are counted apart. One that a restore which
        was cut short has to be finished with stays.
    type: int
    default: 0
  validate:
    description:
      - Commands that must succeed on the restored files before O(reload), each a list of its
        arguments. No shell is involved.
    type: list
    elements: list
    default: []
  reload:
    description: Commands that make the service read its files, each a list of its arguments.
    type: list
    elements: list
    default: []
  reload_later:
    description:
      - Leaves O(reload) to the next restore in the same O(backup_dir), which runs it even though
        the files are right by then. RV(undo) runs it, too.
    type: bool
    default: false
  timeout:
    description:
      - Seconds that each command of O(validate) and O(reload) may take. One that is not done by
        then is told to end, and has failed.
    type: float
    default: 120
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
seealso:
  - module: ansible.builtin.copy
  - module: sre.rollback.health_gate
"""

EXAMPLES = r"""
- name: Configuration of the proxy is kept
  sre.rollback.configuration_files:
    state: backed_up
    paths: [/etc/nginx/nginx.conf, /etc/nginx/tls/shop.pem, /etc/nginx/tls/shop.key]
    backup_dir: /var/backups/rollback-playbook/configuration

- name: Configuration of the proxy is the last one that was kept
  sre.rollback.configuration_files:
    paths: [/etc/nginx/nginx.conf, /etc/nginx/tls/shop.pem, /etc/nginx/tls/shop.key]
    backup_dir: /var/backups/rollback-playbook/configuration
    validate:
      - [nginx, -t]
    reload:
      - [systemctl, reload, nginx]
"""

RETURN = r"""
backup:
  description: The backup that was made or restored.
  returned: success
  type: dict
  sample:
    id: 20260301T100000.000000Z
    created: "2026-03-01T10:00:00Z"
    label: 1.0.0
    automatic: false
    files: [/etc/nginx/nginx.conf]
before:
  description: The files as they were found; C(sha256) is null where there was none.
  returned: success
  type: list
  elements: dict
  sample:
    - {path: /etc/nginx/nginx.conf, sha256: 9f86d081884c7d65, mode: "0644", owner: 0, group: 0}
after:
  description: The files afterwards.
  returned: success
  type: list
  elements: dict
  sample:
    - {path: /etc/nginx/nginx.conf, sha256: 60303ae22b998861, mode: "0644", owner: 0, group: 0}
differing:
  description: Paths of the files that differed.
  returned: success
  type: list
  elements: str
  sample: [/etc/nginx/nginx.conf]
removed:
  description: Ids of the backups that O(retention) removed.
  returned: success
  type: list
  elements: str
  sample: []
undo:
  description:
    - The module and arguments that bring back what was; null when nothing was restored, and in
      check mode without O(keep_as).
  returned: success
  type: dict
  sample:
    module: sre.rollback.configuration_files
    args:
      state: restored
      backup_dir: /var/backups/rollback-playbook/configuration
      backup: 20260301T111500.000000Z
"""

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils import _configuration_set as config
from ansible_collections.sre.rollback.plugins.module_utils._commands import (
    CommandError,
    run_in_turn,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError


@dataclass(frozen=True)
class Restore:
    """One restore: ``before`` is what is there, ``after`` what the backup has."""

    module: AnsibleModule
    folder: Path
    backup: config.Backup
    before: list[config.Kept]
    after: list[config.Kept]
    #: Restores of these files, or of some of them, that were cut short.
    begun: list[config.Unfinished]

    @property
    def changes(self) -> bool:
        return bool(config.differing(self.before, self.after) or self.begun)

    @property
    def paths(self) -> list[str]:
        return [file.path for file in self.before]

    def known(self) -> str | None:
        """Id of a backup of what is replaced that is there already, or that is to be made.

        None when it gets an id of its own. Raises ConfigurationError when it lacks some of these
        files or is not whole, before anything is changed.
        """
        for begun in self.begun:
            begun.replaced()
            if begun.before and begun.paths == set(self.paths):
                return begun.before
        name = self.module.params["keep_as"]
        if name and name in config.backups(self.folder):
            config.chosen(config.read(self.folder, name), self.paths)
        return name or None

    def act(self) -> str:
        """Keep, write, test, reload; the id of the backup of what was there before.

        Raises RollbackError, having put back what was there.
        """
        kept = self.known()
        if kept is None or kept not in config.backups(self.folder):
            kept = self._keep(kept or "")
        note = config.begin(self.folder, self.paths, kept)
        for begun in self.begun:
            if begun.note != note.note:
                begun.end()
        original = config.chosen(config.read(self.folder, kept), self.paths)
        try:
            config.put(self.after)
            self._run(self.module.params["validate"], "its test")
        except RollbackError as exc:
            self._put_back(original, kept, exc)
            note.end()
            raise config.ConfigurationError(
                f"backup {self.backup.id} was not restored: {exc} The files are as they were, and "
                "nothing was reloaded."
            ) from exc
        if not self.module.params["reload_later"]:
            self._reload(original, kept, note)
            note.end()
        return kept

    def _keep(self, name: str) -> str:
        """What was there before this restore, and before those of fewer files that it finishes."""
        files = {file.path: file for file in self.before}
        for begun in self.begun:
            files.update((file.path, file) for file in begun.replaced())
        label = f"before the restore of {self.backup.id}"
        kept = [files[path] for path in self.paths]
        return config.back_up(self.folder, kept, label=label, automatic=True, name=name).id

    def _put_back(self, original: list[config.Kept], kept: str, why: Exception) -> None:
        try:
            config.put(original)
        except RollbackError as exc:
            raise config.ConfigurationError(
                f"backup {self.backup.id} was not restored: {why} What was there could not be put "
                f"back either: {exc} Nothing was reloaded. Mend that, then restore backup {kept}, "
                "which has it."
            ) from exc

    def _reload(self, original: list[config.Kept], kept: str, note: config.Unfinished) -> None:
        try:
            self._run(self.module.params["reload"], "the reload")
        except RollbackError as exc:
            self._put_back(original, kept, exc)
            again = self._again()
            note.end()
            raise config.ConfigurationError(
                f"backup {self.backup.id} was not restored: {exc} The files are as they were, and "
                f"{again}."
            ) from exc

    def _again(self) -> str:
        try:
            self._run(self.module.params["reload"], "the reload")
        except RollbackError as exc:
            return f"the service may not run: {exc}"
        return "the service has read them again"

    def _run(self, commands: t.Sequence[t.Sequence[object]], what: str) -> None:
        try:
            run_in_turn(commands, timeout=self.module.params["timeout"])
        except CommandError as exc:
            raise config.ConfigurationError(f"{what} failed, {exc}.") from exc


def restored(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    folder, paths = Path(params["backup_dir"]), params["paths"]
    backup = (
        config.read(folder, params["backup"]) if params["backup"] else config.newest(folder, paths)
    )
    paths = paths or [file.path for file in backup.files]
    before = config.observe(paths)
    begun = config.unfinished_of(folder, paths)
    restore = Restore(module, folder, backup, before, config.chosen(backup, paths), begun)
    kept = restore.known() if restore.changes else None
    if restore.changes and not module.check_mode:
        kept = restore.act()
    # What was kept says which files these are: a record hides where a private key is.
    names = ("backup_dir", "validate", "reload", "timeout")
    args = {"state": "restored", "backup": kept, **{name: params[name] for name in names}}
    return {
        "changed": restore.changes,
        "backup": config.summary(backup),
        **_comparison(before, restore.after),
        "removed": [],
        "undo": {"module": "sre.rollback.configuration_files", "args": args} if kept else None,
    }


def backed_up(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    folder, files = Path(params["backup_dir"]), config.observe(params["paths"])
    last = _last_kept(folder, params["paths"])
    changed = last is None or list(last.files) != files
    backup, removed = last, []
    if changed and not module.check_mode:
        backup = config.back_up(folder, files, label=params["label"], automatic=False)
        removed = config.prune(folder, params["retention"])
    found = list(last.files) if last else [config.Kept(file.path, None) for file in files]
    return {
        "changed": changed,
        "backup": config.summary(backup) if backup else None,
        **_comparison(found, files),
        "removed": removed,
        "undo": None,
    }


def _last_kept(folder: Path, paths: t.Sequence[str]) -> config.Backup | None:
    """The newest backup of exactly these files; a damaged one is no reason not to make another."""
    try:
        found = config.newest(folder, paths)
    except config.ConfigurationError:
        return None
    return found if [file.path for file in found.files] == list(paths) else None


def _comparison(
    before: t.Sequence[config.Kept], after: t.Sequence[config.Kept]
) -> dict[str, t.Any]:
    return {
        "before": config.as_facts(before),
        "after": config.as_facts(after),
        "differing": [old.path for old, new in config.differing(before, after)],
        "diff": [
            {
                "before_header": old.path,
                "after_header": new.path,
                "before": old.text,
                "after": new.text,
            }
            for old, new in config.differing(before, after)
        ],
    }


def argument_spec() -> dict:
    return {
        "state": {"type": "str", "choices": ["backed_up", "restored"], "default": "restored"},
        "paths": {"type": "list", "elements": "path"},
        "backup_dir": {"type": "path", "required": True},
        "backup": {"type": "str"},
        "keep_as": {"type": "str", "default": ""},
        "label": {"type": "str", "default": ""},
        "retention": {"type": "int", "default": 0},
        "validate": {"type": "list", "elements": "list", "default": []},
        "reload": {"type": "list", "elements": "list", "default": []},
        "reload_later": {"type": "bool", "default": False},
        "timeout": {"type": "float", "default": 120},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "backed_up", ["paths"])],
        required_one_of=[("paths", "backup")],
        supports_check_mode=True,
    )
    act = restored if module.params["state"] == "restored" else backed_up
    anchor = str(Path(module.params["backup_dir"]) / "any")
    try:
        if module.check_mode:
            result = act(module)
        else:
            if module.params["state"] == "backed_up":
                Path(module.params["backup_dir"]).mkdir(mode=0o700, parents=True, exist_ok=True)
            with _atomic_file.alone(anchor):
                result = act(module)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    except OSError as exc:
        module.fail_json(msg=f"{module.params['backup_dir']}: {exc.strerror}. Nothing was changed.")
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
