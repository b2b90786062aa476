"""Once a second: can a stranger reach the machine? sample.py LOG; ends when LOG.stop is there."""

import json
import socket
import sys
import time
from pathlib import Path

PORTS = {"shop": 10381, "stranger": 10332}
ASKS = {"shop": b"GET / HTTP/1.0\r\n\r\n", "stranger": b""}


def answers(port, ask):
    """QEMU takes every connection itself; only bytes that come back are the machine's."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=8) as connection:
            connection.sendall(ask)
            connection.settimeout(8)
            return bool(connection.recv(1))
    except OSError:
        return False


log = Path(sys.argv[1])
while not log.with_suffix(".stop").exists():
    begun = time.time()
    sample = {name: answers(PORTS[name], ASKS[name]) for name in PORTS}
    sample |= {"begun": begun, "ended": time.time()}
    with log.open("a") as lines:
        lines.write(json.dumps(sample) + "\n")
    time.sleep(1)
