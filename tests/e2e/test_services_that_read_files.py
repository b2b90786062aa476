"""Services that read a file when they start: who is restarted for it, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.supervised import Supervised, wait_for_lines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_SLOW = pytest.mark.drill

#: Writes down what it has read.
_READER = "cat shop.env >> {name}.read; exec sleep 1000"
#: The same, of the proxy, when it is told to; and which release it finds then.
_PROXY = "cd {folder}; echo $(cat shop.env) $(readlink app/current) >> proxy.read"
#: What an inventory says of who reads the file.
_NAMED = {"services_names": ["worker", "web"], "configuration_services": ["web", "worker"]}
_WELL = {"name": "all is well", "command": {"argv": ["true"]}}


class Shop:
    """A release that ``web`` runs, and a worker; both read one file, which is kept in a backup."""

    def __init__(self, folder: Path, named: Mapping[str, list[str]] = _NAMED) -> None:
        self.folder = folder
        self.file = folder / "shop.env"
        self.file.write_text("POOL=good\n")
        self.root = folder / "app"
        for version in ("1.0.0", "1.1.0"):
            (self.root / "releases" / version).mkdir(parents=True)
        self._go_to("1.0.0")
        names = ("web", "worker")
        self.host = Supervised(folder, {name: _READER.format(name=name) for name in names})
        self.host.write_inventory(
            {"app": {"app1": {}}, "proxy": {"app1": {}}, "cache": {}},
            release_backend="supervisor",
            release_root=str(self.root),
            release_programs=["web"],
            **named,
            configuration_paths=[str(self.file)],
            configuration_backup_dir=str(folder / "backups"),
            configuration_reload=[["sh", "-c", _PROXY.format(folder=folder)]],
            connection_pool_environment_file=str(self.file),
            connection_pool_limits={"POOL": "low"},
            connection_pool_services=["web", "worker"],
            connection_pool_checks=[],
            backup_database=False,
            verify_checks=[_WELL],
            verify_confirm_checks=[_WELL],
        )
        assert self.read(1) == {"web": ["POOL=good"], "worker": ["POOL=good"]}
        for argv in (("releases", "mark-good"), ("backup",)):
            done = self.host.types(*argv)
            assert done.returncode == 0, done.stderr

    def _go_to(self, version: str) -> None:
        (self.root / "current").unlink(missing_ok=True)
        (self.root / "current").symlink_to(f"releases/{version}")

    def deploy(self, version: str) -> None:
        """With a value that is bad."""
        self._go_to(version)
        self.file.write_text("POOL=bad\n")

    def read(self, times: int) -> dict[str, list[str]]:
        """What each has read so often."""
        return {
            name: wait_for_lines(self.folder / f"{name}.read", times) for name in ("web", "worker")
        }


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.host.stop()


@_SLOW
@pytest.mark.parametrize(
    "bad",
    [pytest.param("1.1.0", id="other release"), pytest.param("1.0.0", id="same release")],
)
def test_application_config_restarts_each_service_once_and_a_second_time_none(
    shop: Shop, bad: str
) -> None:
    shop.deploy(bad)
    restarted = {name: ["POOL=good", "POOL=good"] for name in ("web", "worker")}

    done = shop.host.types("application-config")

    assert done.returncode == 0, done.stderr
    assert shop.read(2) == restarted

    again = shop.host.types("application-config")

    assert again.returncode == 0, again.stderr
    assert shop.read(2) == restarted

    undone = shop.host.types("undo", "last")

    assert undone.returncode == 3, undone.stderr
    assert shop.read(2) == restarted


@_SLOW
def test_release_reads_its_configuration_again_where_no_service_is_named(tmp_path: Path) -> None:
    """It runs already, so that nothing else would start it."""
    shop = Shop(tmp_path, named={})
    web = tmp_path / "web.read"
    try:
        shop.deploy("1.0.0")

        done = shop.host.types("application-config")

        assert done.returncode == 0, done.stderr
        assert wait_for_lines(web, 2) == ["POOL=good", "POOL=good"]

        undone = shop.host.types("undo", "last")

        assert undone.returncode == 0, undone.stderr
        assert wait_for_lines(web, 3)[2] == "POOL=bad"
        assert shop.read(1)["worker"] == ["POOL=good"]
    finally:
        shop.host.stop()


@_SLOW
def test_proxy_beside_the_application_reads_its_files_once_after_the_release_and_again_with_undo(
    shop: Shop,
) -> None:
    shop.deploy("1.1.0")
    told = shop.folder / "proxy.read"

    done = shop.host.types("application-config")

    assert done.returncode == 0, done.stderr
    assert told.read_text().splitlines() == ["POOL=good releases/1.0.0"]

    undone = shop.host.types("undo", "last")

    assert undone.returncode == 0, undone.stderr
    _, (value, _) = map(str.split, told.read_text().splitlines())
    assert value == "POOL=bad"


@_SLOW
@pytest.mark.parametrize("then", ["application-config --take-over", "undo last"])
def test_proxy_that_a_failed_switch_has_not_told_yet_is_told_by_what_comes_next(
    shop: Shop, then: str
) -> None:
    shop.deploy("1.1.0")
    supervisor = shop.host.variables["release_supervisor_bin"]
    broken = f'{{"release_supervisor_bin": "{supervisor}-gone"}}'
    told = shop.folder / "proxy.read"

    failed = shop.host.types("application-config", "-e", broken)

    assert failed.returncode == 4, failed.stderr
    assert shop.file.read_text() == "POOL=good\n"
    assert not told.exists()

    done = shop.host.types(*then.split())

    assert done.returncode == 0, done.stderr
    (line,) = told.read_text().splitlines()
    assert line.split()[0] == shop.file.read_text().strip()


@_SLOW
@pytest.mark.parametrize(
    ("scenario", "value"), [("configuration", "good"), ("connection-pool", "low")]
)
def test_the_same_scenario_twice_restarts_nothing_the_second_time(
    shop: Shop, scenario: str, value: str
) -> None:
    shop.deploy("1.0.0")
    restarted = {name: ["POOL=good", f"POOL={value}"] for name in ("web", "worker")}

    done = shop.host.types(scenario)
    again = shop.host.types(scenario)

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    assert shop.read(2) == restarted


@_SLOW
def test_services_that_a_killed_run_left_with_the_bad_file_are_restarted_by_the_next(
    shop: Shop,
) -> None:
    """Killed when the file was right already, so that nothing differs any more."""
    shop.deploy("1.0.0")
    supervisor = shop.host.variables["services_supervisor_bin"]
    broken = f'{{"services_supervisor_bin": "{supervisor}-gone"}}'

    failed = shop.host.types("configuration", "-e", broken)
    left = shop.file.read_text(), shop.read(1)["web"]
    done = shop.host.types("configuration", "--take-over")

    assert failed.returncode == 4, failed.stderr
    assert left == ("POOL=good\n", ["POOL=good"])
    assert done.returncode == 0, done.stderr
    assert shop.read(2)["web"] == ["POOL=good", "POOL=good"]
