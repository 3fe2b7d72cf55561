"""What an export ends with when it does not end well.

::

    ExportError                 the root; `exit_code` is what the command ends with
    ├── Refused                 it can't be done as asked, and OUT is as it was            2
    └── Unfaithful              it was done, and draws other pictures than the source      1
"""

from __future__ import annotations

from typing import ClassVar


class ExportError(Exception):
    """The root; the message is one line for people."""

    exit_code: ClassVar[int] = 1


class Refused(ExportError):
    """The export can't be done as asked: a wrong source, something missing, no space. Says what would be right."""

    exit_code = 2


class Unfaithful(ExportError):
    """What was exported differs from its source by more than it may."""
