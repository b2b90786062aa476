"""A small service, as somebody else might have written it: it says its version, or fails.

What it does wrong is baked into its image, in /app/release.json.
"""

import json
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RELEASE = json.loads(Path("/app/release.json").read_text())
#: Whoever makes this file in a container has mended what is wrong with it.
MENDED = Path("/tmp/mended")


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        bad = [] if MENDED.exists() else RELEASE.get("fails", [])
        status = 500 if self.path in bad or (self.path != "/health" and "*" in bad) else 200
        body = json.dumps({"version": RELEASE["version"], "path": self.path}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if RELEASE.get("crashes"):
    print("no module named shop.settings", flush=True)
    sys.exit(3)
time.sleep(RELEASE.get("starts_in", 0.5))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("shop", RELEASE["version"], "listens", flush=True)
ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
