"""The private folder of one run, and the watch over it.

It holds the variables of the run, secrets among them: mode 0700, in memory where there is a tmpfs,
gone after the run. When the command line is killed, a process that outlives it ends what the run
has started and removes the folder; when that one is killed too, the next command does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RefusedError
from rollback_playbook.execution import reaper
from rollback_playbook.record.folder import read_json
from rollback_playbook.record.process import Liveness, liveness, this_process

_PREFIX = "rollback-playbook-"
_OWNER = "owner.json"
_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it


@contextmanager
def run_folder() -> Iterator[Path]:
    """A new folder under watch; raises RefusedError when there is no room for one.

    It is gone afterwards. Processes of the run are ended when the body raises, and only then: one
    that is left by an Ansible that ended by itself is a server that a task has started.
    """
    remove_abandoned()
    folder = _made()
    try:
        with _watched(folder):
            yield folder
    except BaseException:
        reaper.end_processes(str(folder))
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def passing_folder() -> Iterator[Path]:
    """A new folder for what a command keeps meanwhile; the next command removes what was killed."""
    remove_abandoned()
    folder = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_private(path: Path, content: Mapping[str, Any]) -> None:
    """JSON that only the owner can read."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(content), encoding="utf-8")


def remove_abandoned() -> list[Path]:
    """End and remove what killed command lines have left behind; the folders that were found."""
    abandoned = [folder for folder in _folders() if _is_abandoned(folder)]
    for folder in abandoned:
        reaper.end_processes(str(folder))
        shutil.rmtree(folder, ignore_errors=True)
    return abandoned


def _made() -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parents()[0])).absolute()
        write_private(folder / _OWNER, this_process())
    except OSError as error:
        raise RefusedError(
            f"there is no room for the files of a run in {_parents()[0]}: {error.strerror}; "
            "nothing was changed",
            hint="free space there",
        ) from error
    return folder


def _parents() -> list[Path]:
    """Where folders are made, and where older ones may be."""
    ordinary = Path(tempfile.gettempdir())
    return [_MEMORY, ordinary] if os.access(_MEMORY, os.W_OK) else [ordinary]


def _folders() -> Iterator[Path]:
    for parent in _parents():
        for path in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if path.stat().st_uid == os.getuid() and path.is_dir():
                    yield path


def _is_abandoned(folder: Path) -> bool:
    """A folder without an owner is one that is just being made: it is left alone."""
    owner = read_json(folder / _OWNER)
    return owner is not None and liveness(owner) is Liveness.GONE


@contextmanager
def _watched(folder: Path) -> Iterator[None]:
    """A process whose standard input ends with this one, however this one ends."""
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(OSError):
            watch.communicate(b".")
