"""Where the lab is, and where it keeps what."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from rollback_playbook.errors import RefusedError

_VARIABLE = "ROLLBACK_LAB_DIR"
_STATE = "lab.json"
#: What listens, each on a loopback port of its own.
SERVICES = ("postgres", "valkey", "nginx", "shop", "payment", "supervisor")

RELEASES = ("1.0.0", "1.1.0")


def lab_directory() -> Path:
    """``$ROLLBACK_LAB_DIR``, else a place of the platform.

    Root's own folders cannot be searched by the account that runs PostgreSQL then, so root's lab
    is below /var/lib.
    """
    configured = os.environ.get(_VARIABLE)
    if configured:
        return Path(configured).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/rollback-playbook/lab")
    import platformdirs

    return platformdirs.user_state_path("rollback-playbook") / "lab"


@dataclass(frozen=True)
class LabState:
    """What was chosen at the first start and stays: ports, secrets, size. Kept in lab.json."""

    id: str
    scale: float
    ports: dict[str, int]
    database_password: str
    supervisor_password: str

    @property
    def shop_url(self) -> str:
        """The shop past its proxy."""
        return f"http://127.0.0.1:{self.ports['shop']}"

    @property
    def url(self) -> str:
        """The shop as users reach it."""
        return f"http://127.0.0.1:{self.ports['nginx']}"


@dataclass(frozen=True)
class Lab:
    """A lab's directory: every path in it, and its state."""

    directory: Path

    @property
    def app(self) -> Path:
        return self.directory / "app"

    @property
    def current(self) -> Path:
        return self.app / "current"

    @property
    def backups(self) -> Path:
        return self.directory / "backups"

    @property
    def flags(self) -> Path:
        return self.directory / "flags" / "flags.json"

    @property
    def inventory(self) -> Path:
        return self.directory / "inventories" / "lab"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def nginx(self) -> Path:
        return self.directory / "nginx"

    @property
    def supervisor_config(self) -> Path:
        return self.directory / "supervisor" / "supervisord.conf"

    @property
    def exists(self) -> bool:
        """Whether this directory is a lab."""
        return (self.directory / _STATE).is_file()

    def state(self) -> LabState:
        """The state; raises RefusedError where there is no lab."""
        try:
            return LabState(**json.loads((self.directory / _STATE).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RefusedError(
                f"there is no lab in {self.directory}", hint="rollback-playbook lab up"
            ) from error

    def write_state(self, state: LabState) -> None:
        """Keep the state; private, since it holds passwords."""
        path = self.directory / f".{_STATE}"
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        path.replace(self.directory / _STATE)


def new_state(scale: float) -> LabState:
    """Fresh secrets and free ports."""
    return LabState(
        id=secrets.token_hex(8),
        scale=scale,
        ports=free_ports(SERVICES),
        database_password=secrets.token_urlsafe(18),
        supervisor_password=secrets.token_urlsafe(18),
    )


def free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """A loopback port for each name; all are held until the last is chosen, so they differ."""
    sockets = [socket.socket() for _ in names]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}
    finally:
        for each in sockets:
            each.close()


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
