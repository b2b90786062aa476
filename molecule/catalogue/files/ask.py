"""What the shop answers a customer: ask.py PATH [TOKEN]. It is waited for until it has started."""

import sys
import time
from http.client import HTTPConnection

token = sys.argv[2] if len(sys.argv) > 2 else ""
while True:
    shop = HTTPConnection("127.0.0.1", 8000, timeout=60)
    try:
        shop.request("GET", sys.argv[1], headers={"Authorization": f"Bearer {token}"})
    except ConnectionRefusedError:
        time.sleep(1)
        continue
    print(shop.getresponse().read().decode())
    break
