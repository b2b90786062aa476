"""Restore points as files: what is written can be read, whole or cut anywhere."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._redis_restore_point import (
    KeptKey,
    RestorePointError,
    RestorePointWriter,
    open_restore_point,
)

_KEPT = st.builds(
    KeptKey,
    db=st.integers(0, 15),
    key=st.binary(max_size=20),
    dump=st.binary(max_size=20),
    expires_at=st.none() | st.integers(0, 2**60),
)
_bounded = settings(
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)


def _write(path: Path, kept: list[KeptKey]) -> None:
    path.unlink(missing_ok=True)
    writer = RestorePointWriter(str(path), header={"mode": "db"}, max_bytes=1 << 20)
    for each in kept:
        writer.keep([each])
    writer.finish()


@_bounded
@given(st.lists(_KEPT, min_size=1, max_size=5))
def test_restore_point_reads_back_what_was_kept(tmp_path: Path, kept: list[KeptKey]) -> None:
    path = tmp_path / "point"
    _write(path, kept)

    point = open_restore_point(str(path))

    assert list(point.read()) == kept
    assert (point.keys, point.torn, point.header["mode"]) == (len(kept), False, "db")


@_bounded
@given(st.lists(_KEPT, min_size=1, max_size=3), st.data())
def test_restore_point_cut_anywhere_has_every_key_before_the_cut(
    tmp_path: Path, kept: list[KeptKey], data: st.DataObject
) -> None:
    path = tmp_path / "point"
    _write(path, kept)
    whole = path.read_bytes()
    header = whole.index(b"\n") + 1
    cut = data.draw(st.integers(header, len(whole)))
    path.write_bytes(whole[:cut])

    point = open_restore_point(str(path))

    complete = whole[header:cut].count(b"\n")
    assert list(point.read()) == kept[:complete]
    assert point.torn == (not whole[:cut].endswith(b"\n"))


def test_restore_point_that_would_grow_too_large_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "point"
    writer = RestorePointWriter(str(path), header={}, max_bytes=400)
    first, second = KeptKey(0, b"a", b"x" * 100, None), KeptKey(0, b"b", b"x" * 200, None)
    writer.keep([first])

    with pytest.raises(RestorePointError, match="would become larger"):
        writer.keep([second])
    writer.finish()

    assert list(open_restore_point(str(path)).read()) == [first]


def test_restore_point_forgets_keys_that_were_not_removed_after_all(tmp_path: Path) -> None:
    path = tmp_path / "point"
    writer = RestorePointWriter(str(path), header={}, max_bytes=1000)
    first, second = KeptKey(0, b"a", b"1", None), KeptKey(0, b"b", b"2", None)
    writer.keep([first])
    start = writer.position()
    writer.keep([second])
    writer.forget(start, 1)
    writer.keep([first])

    assert writer.finish() == {"path": str(path), "keys": 2, "bytes": path.stat().st_size}
    assert list(open_restore_point(str(path)).read()) == [first, first]


def test_restore_point_without_keys_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "point"

    assert RestorePointWriter(str(path), header={}, max_bytes=1000).finish() is None
    assert not path.exists()


@contextlib.contextmanager
def _files_limited_to(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size``, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_restore_point_that_cannot_be_written_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "point"
    writer = RestorePointWriter(str(path), header={}, max_bytes=1 << 20)
    first, second = KeptKey(0, b"a", b"1", None), KeptKey(0, b"b", b"x" * 5000, None)
    writer.keep([first])

    with (
        _files_limited_to(2000),
        pytest.raises(RestorePointError, match="cannot be written: File too large"),
    ):
        writer.keep([second])
    written = writer.finish()

    assert written is not None
    assert written["keys"] == 1
    assert list(open_restore_point(str(path)).read()) == [first]


def test_restore_point_whose_header_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "point"

    with _files_limited_to(10), pytest.raises(RestorePointError, match="Nothing was changed"):
        RestorePointWriter(str(path), header={}, max_bytes=1000)

    assert not path.exists()
