# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say where a Redis is. Without redis-py, which takes its time to be imported.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

REDIS_REQUIRED_TOGETHER = [
    ("sentinels", "sentinel_service"),
    ("client_cert_file", "client_key_file"),
]


def redis_argument_spec() -> dict[str, dict[str, t.Any]]:
    """The options of the documentation fragment ``sre.rollback._redis``, without ``db``."""
    return {
        "login_host": {"type": "str", "default": "localhost"},
        "login_port": {"type": "int", "default": 6379},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
        "login_timeout": {"type": "float", "default": 5.0},
        "tls": {"type": "bool", "default": False},
        "validate_certs": {"type": "bool", "default": True},
        "ca_certs": {"type": "path"},
        "client_cert_file": {"type": "path"},
        "client_key_file": {"type": "path"},
        "cluster": {"type": "str", "default": "auto", "choices": ["auto", "never"]},
        "sentinels": {"type": "list", "elements": "str"},
        "sentinel_service": {"type": "str"},
        "sentinel_user": {"type": "str"},
        "sentinel_password": {"type": "str", "no_log": True},
    }
