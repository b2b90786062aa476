"""What the machines' Python remembers of sources it has compiled. No machine is started."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_REMEMBER = Path(__file__).parents[3] / "molecule" / "machines" / "remember-sources.py"


class Python:
    """A Python with the customization of the machines, and a folder of its own for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.remembered = folder / "remembered"
        self.remembered.mkdir()
        source = _REMEMBER.read_text()
        assert '"/var/cache/remembered-sources"' in source
        (folder / "sitecustomize.py").write_text(
            source.replace("/var/cache/remembered-sources", str(self.remembered))
        )

    def run(self, program: str, *path: Path) -> str:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": os.pathsep.join(map(str, [self._folder, *path]))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def imported(self, archive: Path) -> str:
        return self.run("import sent; print(sent.ANSWER)", archive)


@pytest.fixture
def python(tmp_path: Path) -> Python:
    return Python(tmp_path)


def _archive(path: Path, source: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sent.py", source)
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root remembers")
def test_the_same_source_of_another_archive_is_not_compiled_again(
    python: Python, tmp_path: Path
) -> None:
    assert python.imported(_archive(tmp_path / "first", "ANSWER = 1")) == "1"
    (name,) = python.remembered.iterdir()
    name.write_bytes(marshal.dumps(compile("ANSWER = 'remembered'", "sent.py", "exec")))

    assert python.imported(_archive(tmp_path / "second", "ANSWER = 1")) == "remembered"


def test_another_source_is_other_code(python: Python, tmp_path: Path) -> None:
    python.imported(_archive(tmp_path / "first", "ANSWER = 1"))

    assert python.imported(_archive(tmp_path / "second", "ANSWER = 2")) == "2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root remembers")
def test_what_is_compiled_for_a_file_is_what_python_makes_without_it(
    python: Python, tmp_path: Path
) -> None:
    module = tmp_path / "module.py"
    module.write_text("def answer():\n    return 42\n")
    program = f"import py_compile; print(py_compile.compile({str(module)!r}))"

    # Compiled, then remembered.
    made = [Path(python.run(program)).read_bytes() for _ in range(2)]

    assert len(list(python.remembered.iterdir())) == 1
    plain = subprocess.check_output([sys.executable, "-c", program], text=True).strip()
    assert made == [Path(plain).read_bytes()] * 2


def test_a_folder_that_is_not_there_for_somebody_else_than_root_matters_to_nobody(
    python: Python, tmp_path: Path
) -> None:
    program = "import os; os.geteuid = lambda: 1000; import sent; print(sent.ANSWER)"
    python.remembered.rmdir()

    assert python.run(program, _archive(tmp_path / "first", "ANSWER = 1")) == "1"
