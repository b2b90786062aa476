"""Customers who follow their orders, all that there is room for, when the process is killed."""

import socket
import subprocess

ASK = (
    b"GET /live?order=7 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)

customers = []
for _number in range(5):
    customer = socket.create_connection(("127.0.0.1", 80), timeout=60)
    customer.sendall(ASK)
    heard = customer.recv(4096)
    if b" 101 " not in heard:
        raise SystemExit(f"a customer is refused: {heard!r}")
    customers.append(customer)
subprocess.run(["systemctl", "kill", "--signal=KILL", "live"], check=True)
