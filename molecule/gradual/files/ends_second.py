"""Ends the machine app2 as soon as app1 is on release 1.0.0: ends_second.py STOP-MACHINE FOLDER"""

import json
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen


def release_of_first():
    try:
        with urlopen("http://127.0.0.1:10281/", timeout=10) as answer:
            return json.load(answer)["release"]
    except (URLError, OSError):
        return None


while release_of_first() != "1.0.0":
    time.sleep(2)  # asking costs an emulated processor time, too
subprocess.run([sys.argv[1], sys.argv[2], "app2"], check=True)
