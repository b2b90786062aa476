"""What a stranger gets from ``pip install``: no checkout, no ansible.cfg, no variable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]
_COLLECTION = _ROOT / "collection" / "ansible_collections" / "sre" / "rollback"


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel alone in it; the folder of its programs."""
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(_ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next(folder.glob("*.whl"))
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    programs = folder / "venv" / "bin"
    subprocess.run([programs / "pip", "install", "--quiet", str(wheel)], check=True)
    return programs


def _run(programs: Path, *argv: str, home: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
    return subprocess.run(
        [str(programs / argv[0]), *argv[1:]],
        cwd=home,
        env={**kept, "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_brings_the_collection_where_ansible_finds_it(stranger: Path, tmp_path: Path) -> None:
    listed = _run(stranger, "ansible-galaxy", "collection", "list", "sre.rollback", home=tmp_path)
    done = _run(stranger, "ansible-playbook", "--syntax-check", "sre.rollback.emergency",
                home=tmp_path)  # fmt: skip
    doc = _run(stranger, "ansible-doc", "sre.rollback.health_gate", home=tmp_path)

    assert "0.1.0" in listed.stdout
    assert done.returncode == 0, done.stderr
    assert "success_threshold" in doc.stdout


def test_wheel_brings_the_command_line_and_its_scenarios(stranger: Path, tmp_path: Path) -> None:
    done = _run(stranger, "rollback-playbook", "list", home=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "emergency" in done.stdout


def test_wheel_without_the_lab_extra_says_how_to_get_it(stranger: Path, tmp_path: Path) -> None:
    done = _run(stranger, "rollback-playbook", "lab", "up", home=tmp_path)

    assert done.returncode == 2
    assert "pip install 'rollback-playbook[lab]'" in done.stderr


def test_every_module_renders_its_documentation(stranger: Path, tmp_path: Path) -> None:
    modules = [path.stem for path in (_COLLECTION / "plugins" / "modules").glob("*.py")]
    names = [f"sre.rollback.{name}" for name in modules]

    done = _run(stranger, "ansible-doc", *names, home=tmp_path)

    assert done.returncode == 0, done.stderr
    assert all(f"{name}" in done.stdout and "MODULE" in done.stdout for name in names)


def test_collection_tarball_installs_with_the_same_version(stranger: Path, tmp_path: Path) -> None:
    built = _run(stranger, "ansible-galaxy", "collection", "build", "--output-path",
                 str(tmp_path), str(_COLLECTION), home=tmp_path)  # fmt: skip
    assert built.returncode == 0, built.stderr
    tarball = next(tmp_path.glob("sre-rollback-*.tar.gz"))

    done = _run(stranger, "ansible-galaxy", "collection", "install", "--force", "--no-deps", "-p",
                str(tmp_path / "there"), str(tarball), home=tmp_path)  # fmt: skip

    assert done.returncode == 0, done.stderr
    installed = tmp_path / "there" / "ansible_collections" / "sre" / "rollback"
    assert (installed / "playbooks" / "emergency.yml").is_file()
    assert tarball.name == "sre-rollback-0.1.0.tar.gz"


@pytest.mark.attack
@pytest.mark.timeout(900)
def test_drill_runs_from_the_installed_wheel_without_a_checkout(stranger: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="rollback-stranger-"))
    home.chmod(0o755)
    wheel = next(stranger.parents[1].glob("*.whl"))
    subprocess.run([stranger / "pip", "install", "--quiet", f"{wheel}[lab]"], check=True)
    lab = ["--dir", str(home / "lab")]
    try:
        done = _run(stranger, "rollback-playbook", "drill", "full", "--scale", "0.01", *lab,
                    home=home)  # fmt: skip

        assert done.returncode == 0, done.stderr
        assert "data whole again" in done.stderr
    finally:
        _run(stranger, "rollback-playbook", "lab", "down", "--purge", *lab, home=home)
        shutil.rmtree(home)
