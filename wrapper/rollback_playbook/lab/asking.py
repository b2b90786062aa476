"""Ask the lab's services as anybody may."""

from __future__ import annotations

import http.client
import json
import urllib.request
from http import HTTPStatus
from typing import Any

from rollback_playbook.lab.places import Lab


def ask(port: int, path: str, *, timeout: float = 2.0) -> dict[str, Any]:
    """The JSON answer of a service on loopback, or an empty dict when there is none."""
    return answer(port, path, timeout=timeout)[1]


def answer(
    port: int,
    path: str,
    *,
    method: str = "GET",
    body: dict[str, Any] | None = None,
    token: str = "",
    timeout: float = 5.0,
) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of one request; status 0 when no answer came."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        found = json.loads(response.read())
        status = response.status
    except (OSError, http.client.HTTPException):
        return 0, {}
    except ValueError:
        return response.status, {}
    finally:
        connection.close()
    return status, found if isinstance(found, dict) else {}


def metrics(lab: Lab, *, timeout: float = 60.0) -> dict[str, float]:
    """The numbers without labels on the shop's metrics page; a busy shop lets one wait for it."""
    with urllib.request.urlopen(f"{lab.state().shop_url}/metrics", timeout=timeout) as page:  # noqa: S310
        lines = page.read().decode().splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2 and "{" not in pair[0]}


def log_in(port: int, customer: int) -> str:
    """A session's token; empty when the shop does not let the customer in."""
    body = {"customer": customer, "email": f"customer{customer}@shop.example"}
    status, found = answer(port, "/login", method="POST", body=body)
    return str(found["token"]) if status == HTTPStatus.CREATED else ""
