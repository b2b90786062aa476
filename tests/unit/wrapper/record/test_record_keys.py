"""Where the keys of the chain are, and who may read them."""

from __future__ import annotations

import hmac
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import binary

from rollback_playbook.errors import RecordError
from rollback_playbook.record.keys import Key, Keyring


def test_keyring_makes_its_first_key_once(tmp_path: Path) -> None:
    first = Keyring(tmp_path / "keys").active()
    assert Keyring(tmp_path / "keys").active() == first
    assert len(list((tmp_path / "keys").glob("*.key"))) == 1


def test_keyring_makes_one_key_when_many_ask_at_the_same_time(tmp_path: Path) -> None:
    ask = (
        "import sys; from pathlib import Path; from rollback_playbook.record.keys import Keyring;"
        "print(Keyring(Path(sys.argv[1])).active().id)"
    )
    argv = [sys.executable, "-c", ask, str(tmp_path / "keys")]
    asking = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    answers = {process.communicate()[0].strip() for process in asking}
    assert answers == {Keyring(tmp_path / "keys").active().id}
    assert len(list((tmp_path / "keys").glob("*.key"))) == 1


def test_keyring_rotate_keeps_the_old_key(tmp_path: Path) -> None:
    keys = Keyring(tmp_path)
    old = keys.active()
    new = keys.rotate()
    assert keys.active() == new != old
    again = Keyring(tmp_path)
    assert again.get(old.id) == old
    assert {key.id for key in again} == {old.id, new.id}


def test_keyring_refuses_a_key_that_others_can_read(tmp_path: Path) -> None:
    key = Keyring(tmp_path).active()
    (tmp_path / f"{key.id}.key").chmod(0o640)
    with pytest.raises(RecordError, match="can be read by others") as caught:
        Keyring(tmp_path).active()
    assert "chmod 600" in caught.value.hint


def test_keyring_does_not_take_another_content_for_a_key(tmp_path: Path) -> None:
    """A key's name is its fingerprint."""
    key = Keyring(tmp_path).active()
    (tmp_path / f"{key.id}.key").write_text("00" * 32)
    assert Keyring(tmp_path).get(key.id) is None
    with pytest.raises(RecordError, match="is missing"):
        Keyring(tmp_path).active()


@pytest.mark.parametrize("content", ["", "not hex", "\ufffd"])
def test_keyring_says_that_a_key_cannot_be_read(tmp_path: Path, content: str) -> None:
    key = Keyring(tmp_path).active()
    (tmp_path / f"{key.id}.key").write_text(content)
    with pytest.raises(RecordError, match=r"cannot be read|is missing"):
        Keyring(tmp_path).active()


@pytest.mark.parametrize("key_id", ["", "../../etc/passwd", "0" * 15, "G" * 16, "0" * 16])
def test_keyring_has_no_key_of_another_name(tmp_path: Path, key_id: str) -> None:
    keys = Keyring(tmp_path)
    keys.active()
    assert keys.get(key_id) is None


def test_keyring_in_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot be"):
        Keyring(tmp_path / "file" / "keys").active()


def test_key_does_not_show_its_secret() -> None:
    assert "61" not in repr(Key.of(b"a" * 32))


@given(secret=binary(min_size=32, max_size=32), content=binary(max_size=300))
def test_mac_is_what_hmac_says(secret: bytes, content: bytes) -> None:
    key = Key.of(secret)
    expected = hmac.new(secret, content, "sha256").hexdigest()
    assert key.mac(content) == expected
    assert key.is_of(content, expected)
