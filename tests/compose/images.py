"""Images without a registry: a root file system from this machine, and releases on top of it.

``python -m tests.compose.images`` makes them with the Engine of DOCKER_HOST.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: The program of the shop.
APP = Path(__file__).parent / "shop" / "app.py"
_LEFT_OUT = frozenset(
    {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "site-packages", "__pycache__",
     "turtledemo", "pydoc_data", "dist-packages"}
)  # fmt: skip

BASE = "base/python:3"
PROXY = "base/nginx:1"
SERVICES = ("web", "api", "worker")

#: What is wrong with each release of the shop.
RELEASES: Mapping[str, Mapping[str, Any]] = {
    "1.0.0": {},
    "1.1.0": {},
    "1.2.0": {"starts_in": 3},
    "2.0.0": {"fails": ["*"]},
    "2.1.0": {"fails": ["/orders"]},
    "3.0.0": {"crashes": True},
    "4.0.0": {"fails": ["*", "/health"]},
}


def docker(
    *arguments: str, given: bytes | None = None, env: Mapping[str, str] | None = None
) -> str:
    """The output of ``docker``; raises RuntimeError with what it said."""
    done = subprocess.run(
        ["docker", *arguments], input=given, capture_output=True, check=False, env=env
    )
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.decode()[-1000:]}")
    return done.stdout.decode()


def make_images() -> None:
    """All of them; those that are there already are left."""
    there = set(docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split())
    if BASE not in there:
        import_image(BASE, python_files())
    if PROXY not in there:
        from rollback_playbook.lab.configuration import nginx_binary

        import_image(PROXY, {"/usr/sbin/nginx": nginx_binary(), "/bin/busybox": busybox()})
    for version, release in RELEASES.items():
        missing = [name for name in SERVICES if f"shop/{name}:{version}" not in there]
        if missing:
            built = build(f"shop/{missing[0]}:{version}", {"version": version, **release})
            for name in missing[1:]:
                docker("tag", built, f"shop/{name}:{version}")


def build(
    reference: str, release: Mapping[str, Any], *, program: Path = APP, base: str = BASE
) -> str:
    """A release of the shop on top of the base image; the image's id."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        shutil.copy(program, context / "app.py")
        (context / "release.json").write_text(json.dumps(release))
        (context / "Dockerfile").write_text(dockerfile(base))
        # The classic builder: Debian's Docker comes without the other one.
        classic = {**os.environ, "DOCKER_BUILDKIT": "0"}
        return docker("build", "--quiet", "--tag", reference, folder, env=classic).strip()


def dockerfile(base: str = BASE) -> str:
    """Of every release."""
    return (
        f"FROM {base}\n"
        "COPY app.py release.json /app/\n"
        "HEALTHCHECK --interval=5s --timeout=10s --retries=3 CMD "
        '["/bin/busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/health"]\n'
        'CMD ["/usr/bin/python3", "/app/app.py"]\n'
    )


def import_image(reference: str, files: Mapping[str, Path], *, changes: Sequence[str] = ()) -> None:
    """An image of these files, by where they lie in it; ``changes`` as a Dockerfile has them."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        for folder in ("tmp", "run", "var/run", "etc", "root"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for name, text in {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
            "etc/group": "root:x:0:\nusers:x:100:\nnogroup:x:65534:\n",
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
        for target, source in files.items():
            tar.add(source, arcname=target.lstrip("/"), recursive=False)
        entry = tarfile.TarInfo("bin/sh")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/bin/busybox"
        tar.addfile(entry)
    options = [f"--change={change}" for change in changes]
    docker("import", *options, "-", reference, given=archive.getvalue())


def busybox() -> Path:
    """All programs of a container that are not its own."""
    found = shutil.which("busybox")
    if found is None:
        raise RuntimeError("busybox is not installed: apt-get install busybox-static")
    return Path(found)


def python_files() -> dict[str, Path]:
    """This Python, its standard library and the libraries of both, where an image wants them."""
    program = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = Path(sysconfig.get_path("stdlib"))
    modules = [
        path
        for path in library.rglob("*")
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(library).parts)
        and path.suffix not in (".a", ".pyc")
    ]  # fmt: skip
    files = {f"/usr/lib/{library.name}/{path.relative_to(library)}": path for path in modules}
    files["/usr/bin/python3"] = program
    files["/bin/busybox"] = busybox()
    return files | libraries([program, *(m for m in modules if m.suffix == ".so")])


def libraries(programs: Iterable[Path]) -> dict[str, Path]:
    """Those of the system that these want, where an image wants them."""
    files = {}
    for path in _linked(programs):
        files[f"/lib/x86_64-linux-gnu/{path.name}"] = path
        if path.name.startswith("ld-linux"):
            files[f"/lib64/{path.name}"] = path
    return files


def _linked(programs: Iterable[Path]) -> set[Path]:
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False)
    words = (word for line in done.stdout.splitlines() for word in line.split())
    return {Path(word) for word in words if word.startswith("/") and not word.endswith(":")}


if __name__ == "__main__":
    make_images()
