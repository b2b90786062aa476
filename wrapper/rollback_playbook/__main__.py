"""``rollback-playbook`` and ``python -m rollback_playbook``."""

from __future__ import annotations

from rollback_playbook.cli import main

if __name__ == "__main__":
    main()
