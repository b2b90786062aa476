"""Secrets put in at every place an operator can: none in a file of the incident, on a screen, in a
listing of processes."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from rollback_playbook.lab import seeding
from tests.e2e.conftest import Operator

pytestmark = [pytest.mark.e2e, pytest.mark.attack, pytest.mark.timeout(900)]

_VAULTED = "vaulted-canary-0417"
_FILE = "extra-canary-5523"
_DSN = "postgresql://ops:dsn-canary-9931@db.example.org/shop"
_MAIL = "canary.person@shop.example.org"
_SEALED = "sealed-canary-7742"
_VAULT_PASSWORD = "the vault's password"
_CANARIES = (
    _VAULTED,
    _FILE,
    _SEALED,
    _VAULT_PASSWORD,
    "dsn-canary-9931",
    "query-canary-2206",
    _MAIL,
)


class _Listing(threading.Thread):
    """What ``ps`` would show of every process and its environment, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self.looks = 0
        self.found: set[str] = set()

    def run(self) -> None:
        while not self._stopped.wait(0.02):
            self.looks += 1
            self.found.update(_shown_by_processes())

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _shown_by_processes() -> Iterator[str]:
    for name in ("cmdline", "environ"):
        for path in Path("/proc").glob(f"[0-9]*/{name}"):
            try:
                text = path.read_bytes().decode(errors="replace")
            except OSError:
                continue
            yield from (f"{name}: {each}" for each in _CANARIES if each in text)


@pytest.fixture
def canaries(broken: Operator, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Secrets in the inventory's vault, in the checks, in a table; what the command line needs."""
    lab = broken.lab
    (tmp_path / "vault").write_text(_VAULT_PASSWORD, encoding="ascii")
    vault = VaultLib([("default", VaultSecret(_VAULT_PASSWORD.encode()))])
    file = lab.inventory / "group_vars" / "all" / "zz_canaries.yml"
    sealed = vault.encrypt(_VAULTED).decode().replace("\n", "\n  ")
    checks = yaml.safe_load((file.parent / "verify.yml").read_text(encoding="utf-8"))
    told = {
        "name": f"asks for {_MAIL} as {{{{ harmless }}}} at {_DSN}",
        "http": {
            "url": f"{_shop(broken)}/health?token=query-canary-2206",
            "headers": {
                "Authorization": "Bearer {{ harmless }}",
                "X-More": "{{ more_secret }}",
                "X-Sealed": "{{ harmless_too }}",
            },
        },
    }
    variables = {"verify_checks": [*checks["verify_checks"], told]}
    text = f"harmless: !vault |\n  {sealed}\n" + yaml.safe_dump(variables)
    file.write_text(text, encoding="utf-8")
    _buys(broken)
    yield {"ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "vault")}
    file.unlink()


def _shop(operator: Operator) -> str:
    return f"http://127.0.0.1:{operator.lab.state().ports['shop']}"


def _buys(operator: Operator) -> None:
    """A customer and an order that no backup has: the salvage keeps both."""
    with seeding.connect(operator.lab.state(), "shop") as connection:
        connection.execute(
            "WITH new AS (INSERT INTO customers (name, email) VALUES ('x', %s) RETURNING id) "
            "INSERT INTO orders (customer_id, status, total, note) "
            "SELECT id, 'paid', 1, %s FROM new",
            (_MAIL, f"for {_MAIL}"),
        )


def test_canaries_are_in_no_file_on_no_screen_and_in_no_listing_of_processes(
    broken: Operator, canaries: dict[str, str], tmp_path: Path
) -> None:
    extra = tmp_path / "extra.yml"
    extra.write_text(f"more_secret: {_FILE}\nsome_password: {_FILE}\n", encoding="ascii")
    sealed = tmp_path / "sealed.yml"
    vault = VaultLib([("default", VaultSecret(_VAULT_PASSWORD.encode()))])
    sealed.write_bytes(vault.encrypt(f"harmless_too: {_SEALED}\n"))
    reason = tmp_path / "reason.yml"
    reason.write_text(f"incident_reason: see {_DSN}\n", encoding="ascii")
    listing = _Listing()
    listing.start()
    try:
        given = [f"-e@{path}" for path in (extra, sealed, reason)]
        done = broken.types("full", "-i", "lab", *given, **canaries)
    finally:
        listing.stop()

    assert done.returncode == 0, done.stderr
    assert listing.looks > 10
    assert listing.found == set()
    shown = [done.stdout, done.stderr, *_faces(broken)]
    assert [each for each in _CANARIES for text in shown if each in text] == []
    record = Path(broken.types("incidents", "export", "last", "-o", str(tmp_path)).stdout.strip())
    written = dict(_files(record, broken.last()["id"], broken))
    assert {
        name: each for name, text in written.items() for each in _CANARIES if each in text
    } == {}
    assert "[redacted:" in written["events.jsonl"]
    assert "asks for" in written["report.html"]


def _faces(operator: Operator) -> Iterator[str]:
    """Every way to look at the incident."""
    for argv in (
        ["list", "--json"], ["show", "last"], ["timeline", "last"], ["verify", "last"],
        ["report", "last", "--format", "json"],
    ):  # fmt: skip
        done = operator.types("incidents", *argv)
        assert done.returncode == 0, done.stderr
        yield done.stdout + done.stderr


def _files(archive: Path, incident: str, operator: Operator) -> Iterator[tuple[str, str]]:
    """Every file of the incident's directory and of its archive."""
    for path in (operator.state_dir / "incidents" / incident).rglob("*"):
        if path.is_file():
            yield path.name, path.read_text(encoding="utf-8")
    with tarfile.open(archive) as opened:
        for member in opened.getmembers():
            file = opened.extractfile(member)
            if file is not None:
                yield Path(member.name).name, file.read().decode()
