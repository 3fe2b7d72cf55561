"""What a user can mend: shown as one line on stderr, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Says what is wrong and what would be right, in one line; the command ends with 2."""
