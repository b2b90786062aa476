"""``configuration`` and ``tls-certificates`` on Compose: files come back whole and tested."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
from cryptography.x509 import load_der_x509_certificate

from rollback_playbook.lab.certificates import issue
from tests.compose.conftest import MakeEnvironment, MakeStack
from tests.compose.environment import Environment
from tests.compose.proxy import nginx
from tests.compose.stack import Stack, free_port

pytestmark = pytest.mark.compose

COMPOSE_FILE = """\
services:
  proxy:
    image: base/nginx:1
    command: ["/usr/sbin/nginx", "-p", "/run", "-c", "/etc/nginx/nginx.conf"]
    ports: ["127.0.0.1:${PORT}:80", "127.0.0.1:${TLS_PORT}:443"]
    volumes: ["./nginx:/etc/nginx:ro"]
    stop_grace_period: 2s
  web:
    image: shop/web:${WEB:-1.0.0}
    stop_grace_period: 2s
"""

HELPER = """\
  helper:
    image: base/python:3
    command: ["/bin/busybox", "sleep", "86400"]
    stop_grace_period: 1s
"""

NGINX = nginx(
    """
    include /etc/nginx/upstream.conf;
    server {
      listen 80;
      listen 443 ssl;
      ssl_certificate /etc/nginx/tls/shop.pem;
      ssl_certificate_key /etc/nginx/tls/shop.key;
      location / { proxy_pass http://shop; }
    }
    """
)

UPSTREAM = "upstream shop { zone shop 64k; server web:8000 resolve; }\n"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the proxy."""
    folder = tmp_path_factory.mktemp("tls")
    issue(folder)
    return folder


@pytest.fixture
def shop(
    make_stack: MakeStack, environment: MakeEnvironment, tls: Path, tmp_path: Path
) -> Environment:
    """A proxy with TLS, whose files are kept in a backup; everything is well."""
    stack = make_stack(
        "tls",
        compose_file=COMPOSE_FILE,
        variables={"TLS_PORT": str(free_port())},
        files={
            "nginx/nginx.conf": NGINX,
            "nginx/upstream.conf": UPSTREAM,
            **{f"nginx/tls/{path.name}": path.read_text() for path in tls.iterdir()},
        },
    )
    made = environment(stack, **variables(stack, tmp_path / "backups"))
    kept = made.run("backup", "--reason", "deployed", "--yes")
    assert kept.code == 0, kept.output
    return made


def variables(stack: Stack, backups: Path) -> dict[str, object]:
    """How the files of the project are tested, and who reads them."""
    compose = ["docker", "compose", "--project-directory", str(stack.folder)]
    nginx = [*compose, "exec", "-T", "proxy", "/usr/sbin/nginx", "-p", "/run"]
    nginx += ["-c", "/etc/nginx/nginx.conf"]
    tls = stack.folder / "nginx" / "tls"
    certificate = {
        "certificate": str(tls / "shop.pem"),
        "private_key": str(tls / "shop.key"),
        "server_name": "localhost",
        "ca_cert": str(tls / "ca.pem"),
    }
    port = int(stack.variables["TLS_PORT"])
    served = {"host": "127.0.0.1", "port": port, "server_name": "localhost"}
    answers = {
        "name": "users see orders",
        "http": {"url": f"http://127.0.0.1:{stack.port}/orders", "status": [200]},
    }
    return {
        "release_services": ["web"],
        "backup_database": False,
        "configuration_paths": [
            *(str(stack.folder / name) for name in (".env", "docker-compose.yml")),
            str(stack.folder / "nginx" / "nginx.conf"),
            certificate["certificate"],
            certificate["private_key"],
        ],
        "configuration_backup_dir": str(backups),
        "configuration_validate": [[*compose, "config", "--quiet"], [*nginx, "-t"]],
        "configuration_reload": [
            [*compose, "up", "--detach", "--remove-orphans"],
            [*nginx, "-s", "reload"],
        ],
        "configuration_certificates": [certificate],
        "tls_certificates_checks": [
            {
                "name": "the certificate is good",
                "tls": {**served, "ca_cert": certificate["ca_cert"]},
            }
        ],
        "verify_checks": [answers],
    }


def wait_until_served(shop: Environment, serial: int) -> None:
    """Until users are shown this certificate; a reload takes its time, and old workers theirs."""
    deadline = time.monotonic() + 60
    while served(shop) != serial:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def served(shop: Environment) -> int:
    """The serial number of the certificate that a user is shown."""
    address = ("127.0.0.1", int(shop.stack.variables["TLS_PORT"]))
    return serial_of(ssl.get_server_certificate(address))


def serial_of(pem: str) -> int:
    return load_der_x509_certificate(ssl.PEM_cert_to_DER_cert(pem)).serial_number


def test_files_of_a_project_come_back_tested_with_its_orphans_gone_and_can_be_undone(
    shop: Environment,
) -> None:
    stack = shop.stack
    good = stack.digest()
    stack.compose_file = COMPOSE_FILE + HELPER
    (stack.folder / "docker-compose.yml").write_text(stack.compose_file)
    (stack.folder / "nginx" / "nginx.conf").write_text(NGINX.replace("location /", "location /x"))
    stack.deploy(web="2.0.0")
    stack.reload_proxy()
    stack.wait_for(404)
    bad = stack.digest()

    done = shop.run("configuration", "--reason", "nothing is found", "--yes")

    assert done.code == 0, done.output
    assert stack.digest() == good
    assert stack.get() == (200, "1.0.0")
    assert set(stack.containers()) == {"proxy", "web"}
    containers = stack.containers()

    again = shop.run("configuration", "--reason", "twice", "--yes")
    assert again.code == 0, again.output
    assert stack.containers() == containers
    assert stack.digest() == good

    undone = shop.run("undo", done.incident, "--yes")
    assert undone.code == 5, undone.output
    assert "CANNOT BE UNDONE" not in undone.output
    assert stack.digest() == bad
    assert set(stack.containers()) == {"proxy", "web", "helper"}
    stack.wait_for(404)


def test_files_that_nginx_refuses_are_put_back_and_users_notice_nothing(shop: Environment) -> None:
    """What the backup includes has been moved since, so it does not fit any more."""
    stack = shop.stack
    nginx = stack.folder / "nginx"
    (nginx / "upstream.conf").rename(nginx / "shop.conf")
    (nginx / "nginx.conf").write_text(NGINX.replace("upstream.conf", "shop.conf"))
    shop.stack.reload_proxy()
    before, containers = stack.digest(), stack.containers()

    refused = shop.run("configuration", "--reason", "a try", "--yes")

    assert refused.code == 3, refused.output
    assert "upstream.conf" in refused.output
    assert "The files are as they were, and nothing was reloaded" in refused.output
    assert "nothing was changed" in refused.output
    assert stack.digest() == before
    assert stack.containers() == containers
    assert stack.get() == (200, "1.0.0")


def test_certificate_that_has_expired_gives_way_to_the_last_good_one(shop: Environment) -> None:
    tls = shop.stack.folder / "nginx" / "tls"
    good = serial_of((tls / "shop.pem").read_text())
    issue(tls, days_left=-1)
    expired = serial_of((tls / "shop.pem").read_text())
    shop.stack.reload_proxy()
    wait_until_served(shop, expired)

    done = shop.run("tls-certificates", "--reason", "browsers warn", "--yes")

    assert done.code == 0, done.output
    wait_until_served(shop, good)
    assert "PRIVATE KEY" not in done.output

    undone = shop.run("undo", done.incident, "--yes")
    assert undone.code == 0, undone.output
    assert "cannot be taken back" not in undone.output
    wait_until_served(shop, expired)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param("expired", "certificate has expired", id="it has expired"),
        pytest.param(
            "another key",
            "the certificate does not belong to the key",
            id="it belongs to another key",
        ),
    ],
)
def test_backup_whose_certificate_is_bad_is_refused_before_anything_is_changed(
    shop: Environment, fault: str, says: str
) -> None:
    tls = shop.stack.folder / "nginx" / "tls"
    key = (tls / "shop.key").read_text()
    issue(tls, days_left=-1 if fault == "expired" else 90)
    if fault == "another key":
        (tls / "shop.key").write_text(key)
    kept = shop.run("backup", "--reason", "nobody looked", "--yes")
    assert kept.code == 0, kept.output
    issue(tls)
    before = shop.stack.digest()

    refused = shop.run("tls-certificates", "--reason", "browsers warn", "--yes")

    assert refused.code == 3, refused.output
    assert says in refused.output
    assert "nothing was changed" in refused.output
    assert shop.stack.digest() == before


def test_infrastructure_brings_the_proxy_back_and_leaves_the_application(
    shop: Environment, environment: MakeEnvironment, tmp_path: Path
) -> None:
    stack = shop.stack
    about = variables(stack, tmp_path / "backups")
    operator = environment(
        stack,
        lacks=["database", "cache"],
        services_backend="compose",
        services_names=["proxy"],
        services_checks=about["verify_checks"],
        **about,
    )
    good, containers = stack.digest(), stack.containers()
    (stack.folder / "nginx" / "nginx.conf").write_text(NGINX.replace("location /", "location /x"))
    stack.reload_proxy()
    stack.wait_for(404)

    done = operator.run("infrastructure", "--reason", "nothing is found", "--yes")

    assert done.code == 0, done.output
    assert stack.get() == (200, "1.0.0")
    assert stack.digest() == good
    assert stack.containers() == containers


MONITORING = """\
services:
  metrics:
    image: shop/api:${METRICS:-1.0.0}
    ports: ["127.0.0.1:${PORT}:8000"]
    volumes: ["./rules:/etc/rules:ro"]
    stop_grace_period: 2s
"""


def test_monitoring_goes_down_and_comes_back_as_it_was_defined_and_the_shop_runs_on(
    stack: Stack, make_stack: MakeStack, environment: MakeEnvironment, tmp_path: Path
) -> None:
    """A project of its own, so an inventory of its own; the shop beside it is not in it."""
    monitoring = make_stack(
        "monitoring", compose_file=MONITORING, files={"rules/alerts.yml": "groups: []\n"}
    )
    compose = ["docker", "compose", "--project-directory", str(monitoring.folder)]
    names = ("docker-compose.yml", ".env", "rules/alerts.yml")
    url = f"http://127.0.0.1:{monitoring.port}/metrics"
    watched = environment(
        monitoring,
        backup_database=False,
        release_services=["metrics"],
        configuration_paths=[str(monitoring.folder / name) for name in names],
        configuration_backup_dir=str(tmp_path / "backups"),
        configuration_validate=[[*compose, "config", "--quiet"]],
        configuration_reload=[[*compose, "down", "--remove-orphans"], [*compose, "up", "--detach"]],
        verify_checks=[{"name": "metrics answer", "http": {"url": url, "status": [200]}}],
    )
    assert watched.run("backup", "--reason", "deployed", "--yes").code == 0
    good, shop = monitoring.digest(), stack.containers()
    (monitoring.folder / "rules" / "alerts.yml").write_text("groups: none\n")
    (monitoring.folder / "docker-compose.yml").write_text(f"{MONITORING}{HELPER}")
    monitoring.deploy(metrics="2.0.0")
    monitoring.wait_for(500)

    done = watched.run("configuration", "--reason", "no alerts come", "--yes")

    assert done.code == 0, done.output
    assert monitoring.digest() == good
    assert monitoring.get() == (200, "1.0.0")
    assert set(monitoring.containers()) == {"metrics"}
    assert stack.containers() == shop
