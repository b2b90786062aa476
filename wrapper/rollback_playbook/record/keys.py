"""The keys of the chain, and the copies of the heads: both outside of the incidents' folders.

A key's id is its fingerprint, so a file with another content can never pass for it. New records
use the active key; older ones stay verifiable as long as their key's file is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rollback_playbook.errors import RecordError

_BYTES = 32
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_SUFFIX = ".key"
_ACTIVE = "active"
_ID_LENGTH = 16
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Key:
    """A secret of 32 bytes and the first 16 hex digits of its SHA-256."""

    id: str
    secret: bytes = field(repr=False)
    _inner: hashlib._Hash = field(init=False, repr=False, compare=False)
    _outer: hashlib._Hash = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        block = self.secret.ljust(_BLOCK, b"\0")
        object.__setattr__(self, "_inner", hashlib.sha256(block.translate(_INNER)))
        object.__setattr__(self, "_outer", hashlib.sha256(block.translate(_OUTER)))

    @classmethod
    def of(cls, secret: bytes) -> Key:
        return cls(id=hashlib.sha256(secret).hexdigest()[:_ID_LENGTH], secret=secret)

    def mac(self, content: bytes) -> str:
        """The HMAC-SHA256 of ``content`` in hex.

        From copies of the two hashes that HMAC is made of (RFC 2104), both begun with the key:
        ``hmac`` takes twice as long for what is as short as an event.
        """
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(content)
        outer.update(inner.digest())
        return outer.hexdigest()

    def is_of(self, content: bytes, mac: str) -> bool:
        """Whether ``mac`` is that of ``content``."""
        return hmac.compare_digest(self.mac(content).encode(), mac.encode(errors="replace"))


class Keyring:
    """A folder (0700) with one file (0600) per key, one naming the active key, and ``heads``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Key] = {}

    @property
    def folder(self) -> Path:
        return self._folder

    def active(self) -> Key:
        """The key for new records; made on first use, once even when many ask at the same time.

        Raises RecordError when it cannot be read, or when others than its owner can read it.
        """
        try:
            return self._named_active()
        except FileNotFoundError:
            self._make_active(replace=False)
            return self._named_active()

    def rotate(self) -> Key:
        """A new active key; the older ones stay for the records they were used for."""
        self._make_active(replace=True)
        return self._named_active()

    def get(self, key_id: str) -> Key | None:
        """The key of this id, or None when its file is not here or holds something else."""
        if key_id not in self._loaded and _ID.fullmatch(key_id):
            with suppress(FileNotFoundError):
                self._load(self._folder / f"{key_id}{_SUFFIX}")
        return self._loaded.get(key_id)

    def __iter__(self) -> Iterator[Key]:
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            self._load(path)
        return iter(list(self._loaded.values()))

    def head_path(self, incident: str) -> Path:
        """Where the copy of an incident's head is kept."""
        return self._folder / "heads" / f"{incident}.json"

    def _named_active(self) -> Key:
        key_id = self._active_id()
        key = self.get(key_id)
        if key is None:
            raise RecordError(
                f"the active key {key_id} of the records is missing from {self._folder}",
                hint="put its file back, or remove the file 'active' there to begin a new key",
            )
        return key

    def _active_id(self) -> str:
        path = self._folder / _ACTIVE
        try:
            return path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RecordError(f"the key of the records cannot be read: {error}") from error

    def _make_active(self, *, replace: bool) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = Key.of(secrets.token_bytes(_BYTES))
            _write_new(self._folder / f"{key.id}{_SUFFIX}", key.secret.hex())
            _name_active(self._folder, key.id, replace=replace)
        except OSError as error:
            raise RecordError(
                f"the key of the records cannot be made in {self._folder}: {error.strerror}"
            ) from error

    def _load(self, path: Path) -> None:
        """Keeps a readable key that is what its name says; refuses one that others can read."""
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            secret = bytes.fromhex(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise RecordError(f"the key {path} cannot be read: {error}") from error
        if mode & 0o077:
            raise RecordError(
                f"the key {path} can be read by others than its owner (mode {mode:04o})",
                hint=f"chmod 600 {path}, and rotate the key if somebody may have read it",
            )
        key = Key.of(secret)
        if path.name == key.id + _SUFFIX:
            self._loaded[key.id] = key


def _name_active(folder: Path, key_id: str, *, replace: bool) -> None:
    """Atomic: ``link`` fails when somebody else has named a key meanwhile, whose key then counts.

    The key that lost the race is removed again.
    """
    descriptor, name = tempfile.mkstemp(prefix=".active-", dir=folder)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key_id + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        if replace:
            Path(name).replace(folder / _ACTIVE)
        else:
            os.link(name, folder / _ACTIVE)
    except FileExistsError:
        (folder / f"{key_id}{_SUFFIX}").unlink()
    finally:
        Path(name).unlink(missing_ok=True)


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
