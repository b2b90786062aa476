"""A git work tree with two releases, and commands that write down which one they saw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule


def git_in(tree: Path, *words: str) -> str:
    argv = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(tree), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two releases as tags, the newer one checked out; git ignores the link."""
    tree = tmp_path / "shop"
    tree.mkdir()
    git_in(tree, "init", "--quiet")
    for version in ("1.0.0", "1.1.0"):
        (tree / "release").write_text(version)
        (tree / ".gitignore").write_text("venv\n")
        git_in(tree, "add", ".")
        git_in(tree, "commit", "--quiet", "--message", version)
        git_in(tree, "tag", version)
    git_in(tree, "checkout", "--quiet", "--detach", "1.1.0")
    return tree


def noting(tree: Path, word: str, *, code: int = 0) -> list[list[str]]:
    """A command that writes down what it is and which release it saw."""
    program = (
        f"import sys; "
        f"release = open(r'{tree}/release').read(); "
        f"open(r'{tree.parent}/said', 'a').write('{word} ' + release + '\\n'); "
        f"sys.exit({code})"
    )
    return [[sys.executable, "-c", program]]


def said_of(tree: Path) -> list[str]:
    path = tree.parent / "said"
    return path.read_text().splitlines() if path.exists() else []


def check_out(run_module: RunModule, tree: Path, version: str, **options: Any) -> dict[str, Any]:
    check = options.pop("check", False)
    options.setdefault("stop", noting(tree, "stop"))
    options.setdefault("start", noting(tree, "start"))
    args = {"root": str(tree), "version": version, **options}
    return run_module("release_checkout", args, check=check)
