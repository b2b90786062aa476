"""The environment variables that Ansible gets: an allow-list, and a few that are set for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_NAMES = frozenset(
    {
        "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "PGPASSFILE", "SSH_AUTH_SOCK", "TERM",
        "TMPDIR", "TZ", "USER", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
        "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY",
        "KUBECONFIG",
        "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
        "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "VIRTUAL_ENV",
    }
)  # fmt: skip
_PREFIXES = ("ANSIBLE_", "LC_")

#: Colon-separated names that a site adds to the allow-list.
ALLOWED_VARIABLE = "ROLLBACK_PLAYBOOK_PASS_ENV"


def ansible_environment(base: Mapping[str, str], collections_root: Path) -> dict[str, str]:
    """The variables of ``base`` that are allowed, and ours on top.

    ansible-runner turns host-key checking off unless its variable is set
    (ansible_runner/config/_base.py), and finds ``ansible-playbook`` on PATH only.
    """
    extra = frozenset(filter(None, base.get(ALLOWED_VARIABLE, "").split(":")))
    allowed = {
        name: value
        for name, value in base.items()
        if name in _NAMES or name in extra or name.startswith(_PREFIXES)
    }
    programs = str(Path(sys.executable).parent)
    allowed["PATH"] = os.pathsep.join([programs, base.get("PATH", os.defpath)])
    allowed["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(
        [str(collections_root), *_collection_folders(base)]
    )
    allowed.setdefault("ANSIBLE_HOST_KEY_CHECKING", "True")
    # No file of a module is copied to the host first: less time for every task, most over SSH.
    allowed.setdefault("ANSIBLE_PIPELINING", "True")
    allowed.setdefault("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "True")
    allowed.setdefault("ANSIBLE_DEPRECATION_WARNINGS", "False")
    allowed["ANSIBLE_NOCOLOR"] = "1"
    allowed["PYTHONUNBUFFERED"] = "1"
    return allowed


def held_in_memory(secret: str) -> Path:
    """A file that Ansible can read for as long as this process lives, and that is on no disk.

    Its mode says that it is no program: Ansible runs a password file that is executable.
    """
    descriptor = os.memfd_create("vault-password")
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, secret.encode())
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def _collection_folders(base: Mapping[str, str]) -> list[str]:
    configured = base.get("ANSIBLE_COLLECTIONS_PATH", "")
    if configured:
        return configured.split(os.pathsep)
    home = base.get("HOME", "")
    own = [str(Path(home) / ".ansible" / "collections")] if home else []
    return [*own, "/usr/share/ansible/collections"]
