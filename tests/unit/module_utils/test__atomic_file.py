"""Replacing a file in one step, on the real file system."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file

_WRITER = """
import itertools, sys
from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
for number in itertools.cycle(range(10)):
    _atomic_file.replace(sys.argv[1], str(number).encode() * 500_000)
    print(flush=True)
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.conf"
    path.write_bytes(b"old")
    return path


def _is_alone(file: Path) -> bool:
    return list(file.parent.iterdir()) == [file]


def test_replaced_file_has_the_new_content_and_the_old_mode(file: Path) -> None:
    file.chmod(0o2640)

    _atomic_file.replace(str(file), b"new")

    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o7777 == 0o2640
    assert _is_alone(file)


@as_root
def test_replaced_file_keeps_its_owner(file: Path) -> None:
    os.chown(file, 1234, 5678)
    file.chmod(0o4750)

    _atomic_file.replace(str(file), b"new")

    status = file.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 5678, 0o4750)


def test_replaced_file_keeps_its_extended_attributes(file: Path) -> None:
    try:
        os.setxattr(file, "user.label", b"secret")
    except OSError:
        pytest.skip("the file system of the temporary folder has no extended attributes")

    _atomic_file.replace(str(file), b"new")

    assert os.getxattr(file, "user.label") == b"secret"


def test_new_file_has_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    _atomic_file.replace(str(tmp_path / "new"), b"x", mode=0o600)

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_replaced_file_is_younger_even_when_the_old_one_is_from_the_future(file: Path) -> None:
    later = file.stat().st_mtime_ns + 10**15
    os.utime(file, ns=(later, later))

    for _each in range(3):
        before = file.stat().st_mtime
        _atomic_file.replace(str(file), b"new")
        assert file.stat().st_mtime > before


def test_replaced_link_stays_a_link_and_its_target_is_replaced(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "current.conf"
    link.symlink_to(file.name)

    _atomic_file.replace(str(link), b"new")

    assert link.is_symlink()
    assert file.read_bytes() == b"new"


def test_file_in_a_folder_that_takes_no_files_is_refused_in_words() -> None:
    with pytest.raises(_atomic_file.FileError, match=r"cannot be written: .* It is as it was"):
        _atomic_file.replace("/proc/nothing.conf", b"new")


def test_file_in_place_of_a_folder_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(_atomic_file.FileError, match="cannot be read: Is a directory"):
        _atomic_file.read(str(tmp_path))


def test_folder_in_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(_atomic_file.FileError, match="Is a directory"):
        _atomic_file.replace(str(tmp_path / "folder"), b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_missing_file_reads_as_none_and_is_removed_without_a_word(tmp_path: Path) -> None:
    _atomic_file.remove(str(tmp_path / "nothing"))

    assert _atomic_file.read(str(tmp_path / "nothing")) is None


def test_parts_of_killed_writers_are_removed_and_those_of_living_ones_stay(file: Path) -> None:
    left, fresh, living = (file.parent / f".{file.name}.rollback-{each}" for each in "abc")
    for part in (left, fresh, living):
        part.touch()
    for part in (left, living):
        os.utime(part, (1, 1))
    with living.open() as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)

        _atomic_file.replace(str(file), b"new")

    assert (left.exists(), fresh.exists(), living.exists()) == (False, True, True)


def test_two_who_read_and_write_back_alone_lose_nothing(file: Path) -> None:
    file.write_bytes(b"0")

    def add() -> None:
        for _each in range(25):
            with _atomic_file.alone(str(file)):
                number = int(file.read_bytes())
                _atomic_file.replace(str(file), str(number + 1).encode())

    threads = [threading.Thread(target=add) for _each in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert file.read_bytes() == b"50"
    assert _is_alone(file)


def test_who_waits_too_long_to_be_alone_is_told(file: Path) -> None:
    with (
        _atomic_file.alone(str(file)),
        pytest.raises(_atomic_file.FileError, match="another process has been changing"),
        _atomic_file.alone(str(file), timeout=0.05),
    ):
        pytest.fail("two were alone at once")


def test_alone_in_a_folder_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    with (
        pytest.raises(_atomic_file.FileError, match="No such file"),
        _atomic_file.alone(str(tmp_path / "no" / "file")),
    ):
        pytest.fail("there is no such folder")


def test_file_whose_writer_is_killed_at_any_moment_is_old_or_new(file: Path) -> None:
    for _each in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(file)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        for _line in range(3):
            writer.stdout.readline()
        writer.kill()
        writer.communicate()
        content = file.read_bytes()
        assert content == content[:1] * 500_000


@pytest.mark.attack
@as_root
def test_file_on_a_full_disk_is_refused_in_words_and_as_it_was(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=True)
    try:
        file = disk / "settings.conf"
        file.write_bytes(b"old")
        with pytest.raises(_atomic_file.FileError, match="No space left"):
            _atomic_file.replace(str(file), b"x" * 2_000_000)
        assert file.read_bytes() == b"old"
        assert _is_alone(file)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
