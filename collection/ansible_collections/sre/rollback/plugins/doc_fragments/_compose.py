# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Where a Compose project is; the names are those of community.docker.docker_compose_v2.
    DOCUMENTATION = r"""
options:
  project_src:
    description: Folder of the Compose file. Nothing in it is changed.
    type: path
    required: true
  project_name:
    description: Name of the project; empty for the one that Compose would give it.
    type: str
    default: ""
  files:
    description: The Compose files, relative to O(project_src); empty for those Compose looks for.
    type: list
    elements: path
    default: []
  env_files:
    description: Files with variables, instead of C(.env).
    type: list
    elements: path
    default: []
  profiles:
    description: Profiles that are on.
    type: list
    elements: str
    default: []
  docker_cli:
    description: The program C(docker), with Compose v2 as its plugin.
    type: path
    default: docker
  docker_host:
    description: The Engine; empty for the one that the program would take.
    type: str
    default: ""
"""
