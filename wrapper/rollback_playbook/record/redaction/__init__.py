"""Nothing is written or shown before it went through the Redactor."""

from rollback_playbook.record.redaction.redactor import Redactor

__all__ = ["Redactor"]
