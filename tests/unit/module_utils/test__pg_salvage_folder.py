"""Folders that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_folder import (
    FolderError,
    NewFolder,
    intact,
    newest,
    read_index,
    remove_abandoned,
)


def write(folder: NewFolder) -> None:
    """One file with two rows."""
    file = folder.file("public.Büro/7", "added", ["id", 'na"me'])
    file.write(b"1,a\n")
    file.write(b"2,b\n")
    folder.publish({"kind": "export", "files": {folder.name_of(file): file.entry()}})


def test_folder_is_published_whole_with_a_header_and_an_index(tmp_path: Path) -> None:
    folder = NewFolder(tmp_path, "export", pretend=False)
    before = [path.name for path in tmp_path.iterdir()]
    write(folder)

    index = read_index(folder.path, "export")
    ((name, entry),) = index["files"].items()
    assert before == [f".{folder.id}.partial"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.id]
    assert name == "0001_public.B%C3%BCro%2F7.added.csv"
    assert (folder.path / name).read_bytes() == b'"id","na""me"\n1,a\n2,b\n'
    assert entry["rows"] == 2
    assert intact(folder.path / name, entry)
    assert [path for path, _index in newest(tmp_path, "export")] == [folder.path]
    assert not list(newest(tmp_path, "merge"))


def test_folder_that_is_pretended_writes_nothing_but_knows_the_same(tmp_path: Path) -> None:
    folder, pretended = (
        NewFolder(tmp_path / "dest", "export", pretend=pretend) for pretend in (False, True)
    )
    entries = []
    for each in (folder, pretended):
        file = each.file("t", "added", ["id"])
        file.write(b"1\n")
        entries.append(file.entry())
        each.discard()

    assert entries[0] == entries[1]
    assert list((tmp_path / "dest").iterdir()) == []


def test_remove_abandoned_spares_the_folder_of_a_living_run(tmp_path: Path) -> None:
    living = NewFolder(tmp_path, "export", pretend=False)
    dead = tmp_path / ".dead.partial"
    dead.mkdir()
    (dead / ".lock").touch()

    remove_abandoned(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [f".{living.id}.partial"]
    living.discard()


@pytest.mark.parametrize("damage", [b"", b'"id"\n3\n', b'"id"\n1\n2\n'])
def test_intact_sees_any_change(tmp_path: Path, damage: bytes) -> None:
    folder = NewFolder(tmp_path, "export", pretend=False)
    file = folder.file("t", "added", ["id"])
    file.write(b"1\n")
    folder.publish({"kind": "export"})
    path = folder.path / folder.name_of(file)
    path.write_bytes(damage)

    assert not intact(path, file.entry())
    path.unlink()
    assert not intact(path, file.entry())


def test_read_index_refuses_what_is_no_folder_of_this_kind(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"kind": "export"}')

    assert read_index(tmp_path, "export") == {"kind": "export"}
    with pytest.raises(FolderError, match="not a merge"):
        read_index(tmp_path, "merge")
    (tmp_path / "index.json").write_text("[")
    with pytest.raises(FolderError, match="not a readable folder"):
        read_index(tmp_path, "export")


def test_folder_on_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    folder = NewFolder(tmp_path, "export", pretend=False)
    file = folder.file("t", "added", ["id"])
    assert file.path is not None
    file.abandon()
    file._handle = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115

    with pytest.raises(FolderError, match="No space left"):
        file.write(b"1\n")
    folder.discard()

    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(FolderError, match="cannot write below"):
        NewFolder(tmp_path / "file", "export", pretend=False)
