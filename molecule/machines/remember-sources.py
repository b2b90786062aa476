"""Python of the machines compiles the same source once.

Every task of Ansible brings its module, and all that it imports, as source in an archive; every
virtual environment gets a pip that is compiled for it. On an emulated processor that is a third of
each task, and minutes of a drill. What is remembered is found by the hash of the source, so the
same code runs. Only root can remember something.
"""

# Without pathlib, which takes as long to import as all the rest.
import marshal
import os
import zipimport
from _frozen_importlib_external import SourceLoader
from _imp import source_hash

FOLDER = "/var/cache/remembered-sources"
of_archive = zipimport._compile_source
of_file = SourceLoader.source_to_code


def remembered(source, compile_it):
    name = f"{FOLDER}/{source_hash(0, source).hex()}"
    try:
        with open(name, "rb") as file:  # noqa: PTH123
            return marshal.loads(file.read())  # noqa: S302 - root wrote it, as with every .pyc
    # One that was written just before the machine lost its power is empty.
    except (OSError, EOFError, ValueError, TypeError):
        code = compile_it()
    if os.geteuid() == 0:
        new = f"{name}.{os.getpid()}"
        with open(new, "wb") as file:  # noqa: PTH123
            file.write(marshal.dumps(code))
        os.rename(new, name)  # noqa: PTH104
    return code


def from_archive(path, source):
    return remembered(source, lambda: of_archive(path, source))


def from_file(self, data, path, *, _optimize=-1):
    if _optimize != -1 or not isinstance(data, bytes):
        return of_file(self, data, path, _optimize=_optimize)
    return remembered(data, lambda: of_file(self, data, path))


zipimport._compile_source = from_archive
SourceLoader.source_to_code = from_file
