"""What a vault keeps secret is decrypted for the plan, and known to the redaction."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from rollback_playbook.catalogue.collection import collections_root
from rollback_playbook.cli.variables import parse_variables
from rollback_playbook.errors import UsageError
from rollback_playbook.execution.ansible_environment import ansible_environment, held_in_memory
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


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    """A file for ``-e``, vaulted as a whole."""
    vault = VaultLib([("default", VaultSecret(_PASSWORD.encode()))])
    path = tmp_path / "extra.yml"
    path.write_bytes(vault.encrypt("harmless: whole canary\ndeep: [in a list]\n"))
    return path


@pytest.fixture
def opening(tmp_path: Path) -> dict[str, str]:
    """The environment of an Ansible that has the vault's password."""
    password = tmp_path / "password"
    password.write_text(_PASSWORD, encoding="ascii")
    base = {**os.environ, "ANSIBLE_VAULT_PASSWORD_FILE": str(password)}
    return ansible_environment(base, collections_root())


def test_vaulted_file_of_variables_is_opened_and_all_of_its_texts_are_secrets(
    extra: Path, opening: dict[str, str]
) -> None:
    given = parse_variables([f"@{extra}", "more=1"], opening)

    assert given.values == {"harmless": "whole canary", "deep": ["in a list"], "more": "1"}
    assert given.secrets == ("in a list", "whole canary")


def test_file_of_variables_may_have_single_values_that_are_vaulted(
    extra: Path, opening: dict[str, str]
) -> None:
    vault = VaultLib([("default", VaultSecret(_PASSWORD.encode()))])
    block = vault.encrypt("value canary").decode().replace("\n", "\n  ")
    extra.write_text(f"plain: seen\nhidden: !vault |\n  {block}\n", encoding="ascii")

    given = parse_variables([f"@{extra}"], opening)

    assert given.values == {"plain": "seen", "hidden": "value canary"}
    assert given.secrets == ("value canary",)


def test_vaulted_file_without_a_password_says_how_to_give_one(extra: Path) -> None:
    with pytest.raises(UsageError, match="is vaulted and cannot be opened") as refused:
        parse_variables([f"@{extra}"], ansible_environment(os.environ, collections_root()))

    assert "--ask-vault-pass" in refused.value.hint


def test_password_that_was_asked_for_opens_the_vault_and_is_on_no_disk(
    extra: Path, opening: dict[str, str]
) -> None:
    held = held_in_memory(_PASSWORD)

    given = parse_variables([f"@{extra}"], {**opening, "ANSIBLE_VAULT_PASSWORD_FILE": str(held)})

    assert given.values["harmless"] == "whole canary"
    assert held.parts[:2] == ("/", "proc")
