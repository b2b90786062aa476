"""Certificates for the drill: issue.py FOLDER leaves FOLDER/good and FOLDER/expired."""

import shutil
import sys
from pathlib import Path

from rollback_playbook.lab.certificates import issue

good, expired = (Path(sys.argv[1]) / name for name in ("good", "expired"))
issue(good)
expired.mkdir()
for name in ("ca.pem", "ca.key"):
    shutil.copy(good / name, expired)
issue(expired, days_left=-1)
