# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Somebody's git repository, read and copied by an account that need not own it.

Git refuses a repository of another account unless it is named on the command line, by its top
folder, and for a clone by its git folder too: that is read by a second git, which does not get the
options of the first one.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_PATIENCE_SECONDS = 60.0
#: The mode of what is one; a file can be listed in .gitmodules as well.
_SUBMODULE = "160000"


class SourceError(RollbackError):
    """The source cannot be had; the message says why."""


def asked(directory: str, *words: str) -> str:
    """What git says of the repository around a folder; nothing where it has nothing to say."""
    try:
        return _git([*_trusted(directory), "-C", directory, *words], _PATIENCE_SECONDS)
    except SourceError:
        return ""


def check_out(repository: str, commit: str, dest: Path, *, seconds: float) -> None:
    """A clone of the repository at this commit, with its submodules; raises SourceError.

    The files get the modes that git would give them anywhere, since images take them over.
    """
    said = asked(repository, "rev-parse", "--absolute-git-dir", "--git-common-dir").split("\n")
    folders = [Path(repository, each).resolve() for each in said if each]
    dest.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mask = os.umask(0o022)
    try:
        _clone([Path(repository), *folders], commit, dest, seconds)
    finally:
        os.umask(mask)


def _clone(folders: t.Sequence[Path], commit: str, dest: Path, seconds: float) -> None:
    """Of the first of the folders; the others are where git keeps what it knows of it."""
    names = sorted({str(each.resolve()) for each in folders})
    trusted = [word for name in names for word in ("-c", f"safe.directory={name}")]
    reader = " ".join(map(shlex.quote, ["git", *trusted, "upload-pack"]))
    shutil.rmtree(dest, ignore_errors=True)
    clone = ("clone", "--quiet", "--no-checkout", "--upload-pack", reader, "--")
    _git([*trusted, *clone, str(folders[0]), str(dest)], seconds)
    _git(["-C", str(dest), "checkout", "--quiet", "--detach", commit], seconds)
    for name, path in _submodules(dest):
        _fill(dest, path, Path(folders[-1], "modules", name), seconds)


def _submodules(dest: Path) -> list[tuple[str, str]]:
    """Name and path of each."""
    within = ("-C", str(dest), "config", "--file", ".gitmodules", "--null")
    try:
        found = _git([*within, "--get-regexp", r"^submodule\..*\.path$"], _PATIENCE_SECONDS)
    except SourceError:
        # There are none.
        return []
    pairs = [each.partition("\n")[::2] for each in found.split("\0") if each]
    return [(key[len("submodule.") : -len(".path")], path) for key, path in pairs]


def _fill(dest: Path, path: str, kept: Path, seconds: float) -> None:
    """A submodule from what its owner has of it, since this account may not be let in elsewhere."""
    within = ["-C", str(dest)]
    found = _git([*within, "ls-tree", "HEAD", "--", path], _PATIENCE_SECONDS).split()
    if found[:1] != [_SUBMODULE]:
        return
    commit = found[2]
    if kept.is_dir():
        with contextlib.suppress(SourceError):
            _clone([kept], commit, dest / path, seconds)
            return
        shutil.rmtree(dest / path, ignore_errors=True)
    update = ("submodule", "--quiet", "update", "--init", "--recursive", "--", path)
    _git([*within, *update], seconds)


def _trusted(directory: str) -> list[str]:
    """The repository that git would find from there is named where it is of the folder's owner.

    One that a stranger has put into a folder above is left to git, which refuses it.
    """
    place = Path(directory).resolve()
    for top in (place, *place.parents):
        with contextlib.suppress(OSError):
            owner = os.lstat(str(top / ".git")).st_uid
            ours = {0, os.geteuid(), os.lstat(str(place)).st_uid}
            return ["-c", f"safe.directory={top}"] if owner in ours else []
    return []


def _git(words: t.Sequence[str], seconds: float) -> str:
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        # Nobody is there to be asked for a password, and a look must not leave a lock.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
    }
    verb = next((word for word in words if word in ("clone", "checkout", "submodule")), words[-1])
    try:
        done = subprocess.run(
            ["git", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env=environment,
        )
    except FileNotFoundError as exc:
        raise SourceError("there is no program 'git' on this host") from exc
    except subprocess.TimeoutExpired as exc:
        raise SourceError(f"git {verb} did not end within {seconds:g} s") from exc
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-500:]
        raise SourceError(f"git {verb} ended with {done.returncode}: {said}")
    return done.stdout.strip()
