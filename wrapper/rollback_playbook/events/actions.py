"""What is known of an action before it runs: whether it can change anything on a host."""

from __future__ import annotations

_BUILTIN = "ansible.builtin."
_HARMLESS = frozenset(
    {"add_host", "assert", "debug", "fail", "group_by", "import_role", "import_tasks",
     "include_role", "include_tasks", "include_vars", "meta", "pause", "ping", "set_fact",
     "set_stats", "setup", "slurp", "stat", "validate_argument_spec", "wait_for",
     "wait_for_connection"}
)  # fmt: skip
#: A program that has run says ``changed``, however it ended.
_PROGRAMS = frozenset({"command", "shell", "script", "raw"})
_OURS = "sre.rollback."


def is_harmless(action: str) -> bool:
    """Whether it only asks, waits, decides, or keeps variables."""
    return action.removeprefix(_BUILTIN) in _HARMLESS


def says_what_it_had_begun(action: str) -> bool:
    """Whether its result, when it fails, tells whether anything was changed by then.

    Modules of this collection tell how it is taken back. Others fail without a word about it.
    """
    name = action.removeprefix(_BUILTIN)
    return name in _HARMLESS or name in _PROGRAMS or action.startswith(_OURS)
