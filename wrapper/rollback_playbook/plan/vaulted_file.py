"""A file of variables that is vaulted, as a whole or in places; opened by Ansible itself.

A program of its own as well, for the reasons of ``inventory_probe``. Standard input: the path.
Standard output: ``{variables, secrets}`` or ``{error}``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollback_playbook.errors import UsageError

_TIMEOUT_SECONDS = 120
_TAGGED = re.compile(r"(?m)^[^#\n]*!vault(?:-encrypted)?\b")
_WHOLE = "$ANSIBLE_VAULT;"


def holds_vaulted(text: str) -> bool:
    """Whether this text of a file is vaulted, or has a vaulted value in it."""
    return text.startswith(_WHOLE) or _TAGGED.search(text) is not None


def read_vaulted(path: Path, environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The variables of the file, and those of its texts that were vaulted.

    Raises UsageError when there is no vault password, a wrong one, or no mapping in the file.
    """
    done = subprocess.run(
        [sys.executable, "-m", "rollback_playbook.plan.vaulted_file"],
        input=str(path.absolute()),
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    last = (done.stderr.strip().splitlines() or ["?"])[-1]
    answer: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"error": last}
    if "error" in answer:
        raise UsageError(
            f"the file {path} is vaulted and cannot be opened: {answer['error']}",
            hint="--vault-password-file FILE, --ask-vault-pass, or ANSIBLE_VAULT_PASSWORD_FILE",
        )
    if not isinstance(answer["variables"], dict):
        raise UsageError(f"the file {path} holds no variables: it must be a mapping")
    return answer["variables"], answer["secrets"]


def _opened(path: str) -> dict[str, Any]:
    from ansible.parsing.dataloader import DataLoader

    from rollback_playbook.plan.vaulted import PlainVariables, is_vaulted, open_vault, texts_in

    loader = DataLoader()
    plain = PlainVariables(opened=open_vault(loader))
    found = plain.value(loader.load_from_file(path), path)
    whole = texts_in(found) if is_vaulted(Path(path)) else ()
    return {"variables": found, "secrets": sorted(plain.vaulted | set(whole))}


def main() -> None:
    """Answer for one file, or print ``{"error": …}``."""
    from ansible.errors import AnsibleError

    try:
        answer = _opened(sys.stdin.read())
    except AnsibleError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
