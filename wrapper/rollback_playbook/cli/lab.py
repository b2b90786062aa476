"""``rollback-playbook lab``: a real system on this machine, to break and to mend."""

from __future__ import annotations

from pathlib import Path

import click

from rollback_playbook.cli.settings import Settings

_DIRECTORY = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the lab lives [ROLLBACK_LAB_DIR].",
)
