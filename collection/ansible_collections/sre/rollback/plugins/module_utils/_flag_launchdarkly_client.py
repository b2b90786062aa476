# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Flags evaluated as a client does it: by LaunchDarkly's own SDK, when it is there.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import FlagError

NAME = "launchdarkly-server-sdk"
_SECONDS = 5


def evaluated(path: str, text: str, names: t.Sequence[str]) -> dict[str, t.Any] | None:
    """The value of each flag for nobody in particular; None when there is no SDK.

    ``path`` only tells whether the text is YAML. A value of None is the default in the client's
    own code. Raises FlagError when a client could not read the text.
    """
    try:
        import ldclient
        from ldclient.config import Config
        from ldclient.integrations import Files
    except ImportError:
        return None
    logging.getLogger("ldclient").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, f"flags{Path(path).suffix}")
        copy.write_text(text, encoding="utf-8")
        config = Config(
            sdk_key="offline",
            update_processor_class=Files.new_data_source(paths=[str(copy)]),
            send_events=False,
        )
        with contextlib.closing(ldclient.LDClient(config=config, start_wait=_SECONDS)) as client:
            if not client.is_initialized():
                raise FlagError(f"LaunchDarkly's SDK cannot read {path}.")
            nobody = ldclient.Context.create("rollback-playbook")
            return {name: client.variation(name, nobody, None) for name in names}
