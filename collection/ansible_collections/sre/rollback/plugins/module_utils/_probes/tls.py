# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``tls``: a certificate is trusted, fits the name and the key, and lasts.

It looks at what a server shows, or at files that a server is about to be given.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import ssl
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.network import (
    connected,
    endpoint,
    no_passphrase,
    tls_context,
)

_DAY = 86400.0
_MOST_MESSAGES = 20

Certificate = t.Mapping[str, t.Any]


def _options() -> dict[str, t.Any]:
    return {
        "host": {"type": "str"},
        "port": {"type": "int", "default": 443},
        "certificate": {"type": "path"},
        "server_name": {"type": "str"},
        "ca_cert": {"type": "path"},
        "private_key": {"type": "path", "no_log": False},
        "min_days_left": {"type": "float", "default": 0.0},
    }


_CONSTRAINTS = {
    "mutually_exclusive": [["host", "certificate"]],
    "required_one_of": [["host", "certificate"]],
    "required_by": {"certificate": ["private_key", "server_name"]},
}


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    trust = tls_context({"ca_cert": options.get("ca_cert")})
    days = options["min_days_left"]
    if not days >= 0:
        raise ProbeRefusedError("min_days_left must not be below 0")
    look = _at_files(options, trust) if options.get("certificate") else _at_server(options, trust)

    def probe(leash: Leash) -> None:
        _require_days(look(leash), days)

    return probe


def _at_server(options: Options, trust: ssl.SSLContext) -> t.Callable[[Leash], Certificate]:
    where = endpoint(options["host"], options["port"])
    key = options.get("private_key")

    def look(leash: Leash) -> Certificate:
        with connected(where, leash, tls=trust, server_name=options.get("server_name")) as secure:
            shown = t.cast(ssl.SSLSocket, secure)
            if key:
                _require_key(ssl.DER_cert_to_PEM_cert(shown.getpeercert(True) or b""), key)
            return shown.getpeercert() or {}

    return look


def _at_files(options: Options, trust: ssl.SSLContext) -> t.Callable[[Leash], Certificate]:
    def look(_leash: Leash) -> Certificate:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _load_pair(server, options["certificate"], options["private_key"])
        return _handshake_in_memory(server, trust, options["server_name"])

    return look


def _require_key(certificate: str, key: str) -> None:
    with tempfile.TemporaryDirectory(prefix="health_gate-") as folder:
        path = Path(folder, "certificate.pem")
        path.write_text(certificate, encoding="ascii")
        _load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), str(path), key)


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except ssl.SSLError as exc:
        if "KEY_VALUES_MISMATCH" in str(exc):
            raise ProbeFailedError(f"the certificate does not belong to the key {key}") from exc
        raise ProbeFailedError(
            f"the certificate or the key {key} cannot be read: {exc.reason or exc}"
        ) from exc
    except OSError as exc:
        raise ProbeFailedError(
            f"the certificate or the key {key} cannot be read: {exc.strerror or exc}"
        ) from exc


def _handshake_in_memory(
    server: ssl.SSLContext, client: ssl.SSLContext, server_name: str
) -> Certificate:
    """What a client that trusts ``client``'s authorities makes of the server's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname=server_name)
    try:
        for _turn in range(_MOST_MESSAGES):
            if all([_step(asking), _step(serving)]):
                break
    except ssl.SSLCertVerificationError as exc:
        raise ProbeFailedError(f"the certificate is not trusted: {exc.verify_message}") from exc
    except ssl.SSLError as exc:
        raise ProbeFailedError(f"the certificate cannot be used: {exc.reason or exc}") from exc
    return asking.getpeercert() or {}


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _require_days(certificate: Certificate, days: float) -> None:
    # The handshake has verified that it is valid today.
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    left = (ends - time.time()) / _DAY
    if left < days:
        raise ProbeFailedError(
            f"the certificate ends in {left:.1f} days ({certificate['notAfter']}), "
            f"at least {days:g} are demanded"
        )


KIND = Kind("tls", _options, prepare, constraints=_CONSTRAINTS)
