# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The options of redis_argument_spec() in plugins/module_utils/_redis_options.py.
    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Host of the Redis or Valkey server, or of one node of a cluster.
      - Not used when O(sentinels) is given.
    type: str
    default: localhost
  login_port:
    description: Port of the server.
    type: int
    default: 6379
  login_user:
    description: ACL user. Without it the server's default user is meant.
    type: str
  login_password:
    description: Password of O(login_user).
    type: str
  login_timeout:
    description: Seconds to wait for a connection, and for the answer to one command.
    type: float
    default: 5.0
  tls:
    description: Whether to connect with TLS.
    type: bool
    default: false
  validate_certs:
    description: Whether the certificate must be trusted and be issued for the host.
    type: bool
    default: true
  ca_certs:
    description:
      - File with the certificates to trust instead of the system's.
      - Refused without O(tls).
    type: path
  client_cert_file:
    description: Certificate of this client. Refused without O(tls).
    type: path
  client_key_file:
    description: Private key of O(client_cert_file).
    type: path
  cluster:
    description:
      - With V(auto), a server in cluster mode stands for its whole cluster.
      - With V(never), only the server itself is used.
    type: str
    choices: [auto, never]
    default: auto
  sentinels:
    description:
      - Sentinels as C(host:port), asked in this order for the primary of O(sentinel_service).
    type: list
    elements: str
  sentinel_service:
    description: Name under which the Sentinels watch the primary.
    type: str
  sentinel_user:
    description: ACL user of the Sentinels.
    type: str
  sentinel_password:
    description: Password of the Sentinels.
    type: str
requirements:
  - redis (Python library) >= 5.2
"""
