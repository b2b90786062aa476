"""Vaulted variables: what Ansible decrypts for a run, the redaction has to know by its value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_VARIABLE_FOLDERS = ("group_vars", "host_vars")
_MARK = b"$ANSIBLE_VAULT;"


def open_vault(loader: Any) -> bool:
    """Give ``loader`` the vault passwords that Ansible is configured with.

    False when there is none. Raises AnsibleError when one cannot be read.
    """
    from ansible import constants
    from ansible.cli import CLI

    names = [each for each in constants.DEFAULT_VAULT_IDENTITY_LIST if not _asks(each)]
    if not names and not constants.DEFAULT_VAULT_PASSWORD_FILE:
        return False
    loader.set_vault_secrets(CLI.setup_vault_secrets(loader, vault_ids=names, auto_prompt=False))
    return True


def _asks(identity: str) -> bool:
    """Nobody is there to be asked by this process."""
    return identity.rpartition("@")[2].startswith("prompt")


class PlainVariables:
    """Variables as plain JSON values; remembers those that were vaulted."""

    def __init__(self, *, opened: bool) -> None:
        self._opened = opened
        self._type = _encrypted_type()
        self.vaulted: set[str] = set()

    def value(self, value: Any, name: str) -> Any:
        """Raises AnsibleError when it is vaulted and cannot be decrypted; names ``name`` then."""
        if isinstance(value, self._type):
            return self._decrypted(value, name)
        if isinstance(value, Mapping):
            return {str(key): self.value(each, name) for key, each in value.items()}
        if isinstance(value, (list, tuple, set)):
            return [self.value(each, name) for each in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return str(value)

    def _decrypted(self, value: Any, name: str) -> str:
        from ansible.errors import AnsibleError

        if not self._opened:
            raise AnsibleError(
                f"the variable {name} is vaulted and no vault password is configured: set "
                "ANSIBLE_VAULT_PASSWORD_FILE, or vault_password_file in ansible.cfg"
            )
        text = str(value)
        self.vaulted.add(text)
        return text


def _encrypted_type() -> type:
    """Its name changed with ansible-core 2.19."""
    from ansible.parsing import vault
    from ansible.parsing.yaml import objects

    for module, name in ((vault, "EncryptedString"), (objects, "AnsibleVaultEncryptedUnicode")):
        kind = getattr(module, name, None)
        if isinstance(kind, type):
            return kind
    raise RuntimeError("this version of ansible-core has no type for vaulted values")


def secrets_of_files(inventory: str, loader: Any) -> set[str]:
    """Every text in the variable files beside the inventory that are vaulted as a whole."""
    source = Path(inventory)
    if not source.exists():
        return set()
    base = source if source.is_dir() else source.parent
    files = (path for folder in _VARIABLE_FOLDERS for path in (base / folder).rglob("*"))
    vaulted = (path for path in files if path.is_file() and is_vaulted(path))
    return {text for path in vaulted for text in texts_in(loader.load_from_file(str(path)))}


def is_vaulted(path: Path) -> bool:
    """Whether the file is vaulted as a whole."""
    with path.open("rb") as file:
        return file.read(len(_MARK)) == _MARK


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value, at any depth."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts_in(each)
    elif isinstance(value, str):
        yield str(value)
