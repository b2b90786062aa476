# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A git work tree in which a checkout may have been cut short: which files are whose.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_LOCKS = ("index.lock", "HEAD.lock")
_SUBMODULE = "160000"


class CheckoutError(RollbackError):
    """The work tree is not as asked for; the message says what runs."""


class Git:
    """Runs git in one work tree."""

    def __init__(self, module: AnsibleModule, root: Path) -> None:
        self._module = module
        self.root = root

    def text(self, *words: str, **options: t.Any) -> str:
        """What it says, stripped. Raises CheckoutError."""
        return str(self._run(words, **options)).strip()

    def names(self, *words: str) -> list[str]:
        """What it lists with ``-z``. Raises CheckoutError."""
        listed = bytes(self._run(words, encoding=None)).split(b"\0")
        return [os.fsdecode(name) for name in listed if name]

    def content(self, commit: str, path: str) -> bytes:
        """A file as a checkout of ``commit`` would write it. Raises CheckoutError."""
        words = ("cat-file", "--filters", f"{commit}:{path}")
        return bytes(self._run(words, encoding=None))

    def has(self, commit: str) -> bool:
        try:
            self.text("cat-file", "-e", f"{commit}^{{commit}}")
        except CheckoutError:
            return False
        return True

    def _run(self, words: t.Sequence[str], **options: t.Any) -> t.Any:
        argv = ["git", "-c", f"safe.directory={self.root}", "-C", str(self.root), *words]
        # Only a checkout locks: a look that is killed must not leave a lock that nobody knows of.
        environ = {"LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0"}
        code, out, err = self._module.run_command(argv, environ_update=environ, **options)
        if code != 0:
            said = err if isinstance(err, str) else bytes(err).decode("utf-8", "replace")
            said = (said.strip() or (out.strip() if isinstance(out, str) else ""))[-500:]
            raise CheckoutError(f"git {words[0]} in {self.root} ended with {code}: {said}.")
        return out


class MixedFiles:
    """The files of a work tree in which checkouts of ``commits`` may have been cut short.

    A file is a checkout's when it has the content of one of the commits, or the beginning of one,
    as the file has that was being written. To lose such a file loses nothing.
    """

    def __init__(self, git: Git, commits: t.Iterable[str]) -> None:
        self._git = git
        self._top = Path(git.text("rev-parse", "--show-toplevel"))
        self._trees = {commit: self._tree(commit) for commit in commits}
        self._spared: set[str] = set()

    def differing(self, commit: str) -> tuple[list[str], list[str]]:
        """What a forced checkout of ``commit`` would replace: a checkout's files, and others'."""
        listed = self._git.names("diff-index", "--name-only", "-z", "--no-renames", commit)
        paths = [path for path in listed if not self._is_submodule(path)]
        hashes = self._hashes(paths)
        tree = self._trees[commit]
        # What was only touched, or copied, differs for the index alone.
        paths = [path for path in paths if hashes.get(path, "") != tree.get(path, ("", None))[1]]
        ours = [path for path in paths if self._is_ours(path, hashes)]
        return ours, sorted(set(paths) - set(ours))

    def require_written(self, commit: str) -> None:
        """Raises CheckoutError when files are not whole after a checkout.

        Git ends with 0 when the disk was full, and takes the files for checked out.
        """
        ours, _others = self.differing(commit)
        short = [path for path in ours if not self._is_as_written(commit, path)]
        if short:
            raise CheckoutError(
                f"git could not write {', '.join(short[:10])} in {self._top}. Is the disk full?"
            )

    def spare_unknown(self, commit: str) -> None:
        """What stands there before any checkout, and ``commit`` does not have, is somebody's."""
        self._spared = self._unknown_to(commit)

    def remove_leftovers(self, commit: str) -> None:
        """Remove files that a checkout cut short has written and that ``commit`` does not have.

        What is of somebody else stays: it is in nobody's way.
        """
        paths = self._unknown_to(commit) - self._spared
        hashes = self._hashes(paths)
        for path in paths:
            place = self._top / path
            if self._blocker(path) == place and self._is_ours(path, hashes):
                place.unlink()
                with contextlib.suppress(OSError):
                    for folder in place.parents:
                        if folder == self._top:
                            break
                        folder.rmdir()

    def _unknown_to(self, commit: str) -> set[str]:
        """Files that are there, and are of one of the commits, but not of this one."""
        known = {*self._trees[commit], *self._git.names("ls-files", "-z", "--full-name", ":/")}
        others = {path for tree in self._trees.values() for path in tree} - known
        return {path for path in others if os.path.lexists(str(self._top / path))}

    def _is_as_written(self, commit: str, path: str) -> bool:
        """Though git takes it for changed, as with ends of lines that its attributes forbid."""
        there = _content(self._top / path)
        if path not in self._trees[commit]:
            return there is None
        return there == self._git.content(commit, path)

    def _tree(self, commit: str) -> dict[str, tuple[str, str]]:
        """Mode and hash of each path."""
        tree = {}
        for line in self._git.names("ls-tree", "-r", "-z", "--full-tree", commit):
            about, _tab, path = line.partition("\t")
            mode, _kind, blob = about.split()
            tree[path] = (mode, blob)
        return tree

    def _is_submodule(self, path: str) -> bool:
        """Its files are not touched by a checkout."""
        return any(tree.get(path, ("",))[0] == _SUBMODULE for tree in self._trees.values())

    def _hashes(self, paths: t.Iterable[str]) -> dict[str, str]:
        """Of those that are plain files, as git would keep them; one process for all."""
        plain = [
            path
            for path in paths
            if "\n" not in path and self._blocker(path) == self._top / path and self._plain(path)
        ]
        if not plain:
            return {}
        said = self._git.text(
            "-C",
            str(self._top),
            "hash-object",
            "--stdin-paths",
            data=os.fsencode("\n".join(plain) + "\n"),
            binary_data=True,
        )
        return dict(zip(plain, said.split()))

    def _plain(self, path: str) -> bool:
        place = self._top / path
        return place.is_file() and not place.is_symlink()

    def _blocker(self, path: str) -> Path:
        """What stands there, or where one of its folders should be."""
        place = self._top
        for part in Path(path).parts:
            place = place / part
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                return place
        return place

    def _is_ours(self, path: str, hashes: t.Mapping[str, str]) -> bool:
        place = self._blocker(path)
        if not os.path.lexists(str(place)):
            return True
        if place.is_dir() and not place.is_symlink():
            found = [
                str((Path(folder) / name).relative_to(self._top))
                for folder, folders, names in os.walk(str(place))
                for name in [
                    *names,
                    *(each for each in folders if (Path(folder) / each).is_symlink()),
                ]
            ]
            return all(self._is_ours(each, {}) for each in found)
        path = str(place.relative_to(self._top))
        trees = [(commit, tree[path]) for commit, tree in self._trees.items() if path in tree]
        if hashes.get(path) in [blob for _commit, (_mode, blob) in trees]:
            return True
        there = _content(place)
        return there is not None and any(
            self._git.content(commit, path).startswith(there) for commit, _entry in trees
        )


def _content(place: Path) -> bytes | None:
    """None where there is nothing that git could have written."""
    if place.is_symlink():
        return os.fsencode(os.readlink(str(place)))
    return place.read_bytes() if place.is_file() else None


def unlock(git: Git) -> None:
    """Remove the locks of a git that was killed. Raises CheckoutError when it is not sure."""
    folder = Path(git.text("rev-parse", "--absolute-git-dir"))
    for lock in [folder / name for name in _LOCKS]:
        require_unlocked(git, lock)
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()


def require_idle(git: Git) -> None:
    """Raises CheckoutError when a lock stands there that may not be that of a killed git."""
    folder = Path(git.text("rev-parse", "--absolute-git-dir"))
    for name in _LOCKS:
        require_unlocked(git, folder / name)


def require_unlocked(git: Git, lock: Path) -> None:
    """A lock that stands there is held when a git is at work in the work tree.

    Only root sees that of other users' processes; others know it of locks of their own.
    """
    try:
        owner = lock.stat().st_uid
    except FileNotFoundError:
        return
    user = os.geteuid()
    if user not in (0, owner):
        raise CheckoutError(
            f"{lock} is of another user (number {owner}), and whether their git still runs cannot "
            "be seen. Remove it when none does, then run this again."
        )
    for pid in _gits(git.root):
        raise CheckoutError(
            f"{lock} is there and git still works in {git.root}, as process {pid}. Run this again "
            "when that has ended."
        )


def _gits(root: Path) -> t.Iterator[str]:
    """The processes of git in that work tree, as far as they can be seen."""
    top = root.resolve()
    if not Path("/proc/self").exists():
        raise CheckoutError("whether a git still works there cannot be seen without /proc.")
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                place = Path(os.readlink(str(process / "cwd")))
                if name.startswith("git") and (place == top or top in place.parents):
                    yield process.name
