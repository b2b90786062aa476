"""Where the lab is, and where it keeps what."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from rollback_playbook.errors import RefusedError, UsageError
from rollback_playbook.lab.ports import free_ports

_VARIABLE = "ROLLBACK_LAB_DIR"
_STATE = "lab.json"
#: What listens, each on a loopback port of its own.
SERVICES = ("postgres", "valkey", "nginx", "https", "shop", "live", "payment", "supervisor")

RELEASES = ("1.0.0", "1.1.0")

#: 200 million orders: more than a laptop's disk has room for.
_LARGEST = 1000
_FORBIDDEN = '"\\;#%*?['


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
    def shop_password(self) -> str:
        """The password of the shop's own role, which owns the shop's database."""
        return hashlib.sha256(f"shop {self.database_password}".encode()).hexdigest()[:32]

    @property
    def shop_url(self) -> str:
        """The shop past its proxy."""
        return f"http://127.0.0.1:{self.ports['shop']}"

    @property
    def url(self) -> str:
        """The shop as users reach it."""
        return f"http://127.0.0.1:{self.ports['nginx']}"

    @property
    def secure_url(self) -> str:
        """The same with TLS, whose certificate is issued for localhost."""
        return f"https://localhost:{self.ports['https']}"


@dataclass(frozen=True)
class Lab:
    """A lab's directory: every path in it, and its state."""

    directory: Path

    @property
    def access_rules(self) -> Path:
        """Whom PostgreSQL lets in."""
        return self.postgres / "pg_hba.conf"

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
    def environment_file(self) -> Path:
        """What an operator may tune of the shop; read when it starts."""
        return self.app / "shop.env"

    @property
    def certificates(self) -> Path:
        return self.nginx / "certificates"

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
    def postgres(self) -> Path:
        """PostgreSQL's data directory."""
        return self.directory / "postgres"

    @property
    def supervisor_config(self) -> Path:
        return self.directory / "supervisor" / "supervisord.conf"

    @property
    def exists(self) -> bool:
        """Whether this directory is a lab."""
        return (self.directory / _STATE).is_file()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is lost when a lab is made here; a lab half made counts as nothing."""
        names = {path.name for path in self.directory.iterdir()} if self.directory.is_dir() else ()
        return set(names) <= {f".{_STATE}"}

    def state(self) -> LabState:
        """The state; raises RefusedError where there is no lab, or one that cannot be read."""
        path = self.directory / _STATE
        try:
            return LabState(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RefusedError(
                f"there is no lab in {self.directory}", hint="rollback-playbook lab up"
            ) from error
        except (ValueError, TypeError) as error:
            raise RefusedError(
                f"{path} cannot be read: {error}; nothing was changed",
                hint="it is damaged, or another version made this lab: end its processes by hand, "
                "remove the folder and begin anew",
            ) from error

    def write_state(self, state: LabState) -> None:
        """Keep the state; private, since it holds passwords."""
        path = self.directory / f".{_STATE}"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        path.replace(self.directory / _STATE)


def new_state(scale: float) -> LabState:
    """Fresh secrets and free ports; raises UsageError for a size that cannot be."""
    if not (math.isfinite(scale) and 0 < scale <= _LARGEST):
        raise UsageError(f"a lab's scale is more than 0 and at most {_LARGEST}, not {scale}")
    return LabState(
        id=secrets.token_hex(8),
        scale=scale,
        ports=free_ports(SERVICES),
        database_password=secrets.token_urlsafe(18),
        supervisor_password=secrets.token_urlsafe(18),
    )


def check_directory(directory: Path) -> None:
    """Raises UsageError for a path that the services' configuration files cannot carry.

    Quotes, ``;`` and ``#`` end a value or begin a comment, ``%`` and ``{{`` are expanded, and
    nginx takes the rest as a pattern: an include that matches no file is no error to it.
    """
    bad = sorted({each for each in str(directory) if each in _FORBIDDEN or not each.isprintable()})
    if "{{" in str(directory):
        bad.append("{{")
    if bad:
        raise UsageError(
            f"a lab cannot be in {str(directory)!r}: {' '.join(map(repr, bad))} in its path; "
            "nothing was changed",
            hint="choose another folder",
        )
