"""A certificate that had expired when it was installed."""

from __future__ import annotations

import socket
import ssl

from rollback_playbook.lab.certificates import issue
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab
from rollback_playbook.lab.reloading import reload_proxy

_SECONDS = 5.0


def _install(lab: Lab) -> None:
    issue(lab.certificates, days_left=-1)
    reload_proxy(lab)


def _refused(lab: Lab) -> list[str]:
    """What a browser says that trusts the lab's authority."""
    context = ssl.create_default_context(cafile=str(lab.certificates / "ca.pem"))
    address = ("127.0.0.1", lab.state().ports["https"])
    try:
        with (
            socket.create_connection(address, timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            return []
    except OSError as error:
        return [f"browsers refuse the shop: {error}"]


FAULT = Fault(
    name="expired-certificate",
    title="the certificate that nginx shows has expired",
    scenarios=("tls-certificates",),
    cause=_install,
    symptoms=_refused,
)
