"""Room on the disk of the records that is set aside before something is broken."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO

from rollback_playbook.errors import RecordError

#: The record of a run has half a megabyte; of one with many hosts, some.
_FOR_RUN = 8 << 20
_FOR_LINE = 64 << 10


class Reserve:
    """Two files without a name: the kernel frees them with this process, however it ends."""

    def __init__(self, state_dir: Path) -> None:
        """Raises RecordError when there is not so much room."""
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._run = _filled(state_dir, _FOR_RUN)
            self._line = _filled(state_dir, _FOR_LINE)
        except OSError as error:
            raise RecordError(
                f"there is no room for the record of a rollback in {state_dir} "
                f"({_FOR_RUN >> 20} MiB): {error.strerror}",
                hint=f"free space in {state_dir}",
            ) from error

    def for_run(self) -> None:
        """Give the room for the record of a run free."""
        self._run.close()

    def for_line(self) -> None:
        """Give all of it free."""
        self._run.close()
        self._line.close()


def _filled(folder: Path, size: int) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is held until it is needed
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except BaseException:
        file.close()
        raise
    return file
