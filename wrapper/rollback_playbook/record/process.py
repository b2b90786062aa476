"""Which process writes a record, and whether it is still alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

_START_FIELD = 19  # field 22 of proc(5) stat, counted after the command's closing bracket


class Liveness(Enum):
    """``UNKNOWN``: the process belongs to another machine or container, or says too little."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


def this_process() -> dict[str, Any]:
    """Enough to tell this process from any other, also after its number is used again."""
    pid = os.getpid()
    return {
        "pid": pid,
        "started": _started(pid),
        "boot": _boot(),
        "machine": socket.gethostname(),
        "pid_namespace": _pid_namespace(),
    }


def liveness(process: Mapping[str, Any]) -> Liveness:
    """Whether the process that ``this_process`` described still runs."""
    pid = process.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return Liveness.UNKNOWN
    if process.get("machine") != socket.gethostname():
        return Liveness.UNKNOWN
    if process.get("boot") != _boot():
        return Liveness.GONE
    # A container may have the machine's name; its processes have other numbers here, or none.
    here = _pid_namespace()
    if process.get("pid_namespace", here) != here:
        return Liveness.UNKNOWN
    started = _started(pid)
    return Liveness.ALIVE if started and started == process.get("started") else Liveness.GONE


def _started(pid: int) -> str:
    """Clock ticks since boot at which the process began; empty when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[_START_FIELD]


def _pid_namespace() -> str:
    try:
        return Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return ""


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
