"""What a vault keeps secret is decrypted for the plan, and known to the redaction."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from rollback_playbook.catalogue.collection import collections_root
from rollback_playbook.errors import UsageError
from rollback_playbook.execution.ansible_environment import ansible_environment
from rollback_playbook.plan.hosts import ResolvedHosts, resolve_hosts

_PASSWORD = "vault password"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """One vaulted value, one file that is vaulted as a whole, and a vault password file."""
    vault = VaultLib([("default", VaultSecret(_PASSWORD.encode()))])
    folder = tmp_path / "inventory"
    variables = folder / "group_vars" / "all"
    variables.mkdir(parents=True)
    (folder / "hosts").write_text("app1 ansible_connection=local\n", encoding="ascii")
    block = vault.encrypt("value canary").decode().replace("\n", "\n  ")
    (variables / "one.yml").write_text(f"harmless_name: !vault |\n  {block}\n", encoding="ascii")
    whole = vault.encrypt("settings: {deep: [file canary, 5432]}\n")
    (variables / "whole.yml").write_bytes(whole)
    (tmp_path / "password").write_text(_PASSWORD, encoding="ascii")
    return folder


def _resolve(inventory: Path, **environment: str) -> ResolvedHosts:
    base = {**os.environ, **environment}
    return resolve_hosts(
        str(inventory), ["all"], "", environment=ansible_environment(base, collections_root())
    )


def test_vaulted_values_are_plain_in_the_plan_and_known_as_secrets(inventory: Path) -> None:
    password = inventory.parent / "password"

    found = _resolve(inventory, ANSIBLE_VAULT_PASSWORD_FILE=str(password))

    assert found.variables["app1"]["harmless_name"] == "value canary"
    assert found.variables["app1"]["settings"] == {"deep": ["file canary", 5432]}
    assert found.vaulted == ("file canary", "value canary")


def test_vaulted_value_without_a_password_says_which_variable_and_what_to_set(
    inventory: Path,
) -> None:
    (inventory / "group_vars" / "all" / "whole.yml").unlink()

    with pytest.raises(UsageError, match=r"harmless_name is vaulted.*ANSIBLE_VAULT_PASSWORD_FILE"):
        _resolve(inventory)


def test_vault_that_the_password_does_not_open_is_refused_and_shows_nothing(
    inventory: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("another", encoding="ascii")

    with pytest.raises(UsageError, match="cannot be read") as refused:
        _resolve(inventory, ANSIBLE_VAULT_PASSWORD_FILE=str(wrong))

    assert "canary" not in str(refused.value)
