"""The payment provider, which is another company: every charge is taken."""

import json
import secrets
from http.server import BaseHTTPRequestHandler, HTTPServer


class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"charge": secrets.token_hex(8)}).encode())


HTTPServer(("127.0.0.1", 8002), Answer).serve_forever()
