"""Errors of an export.

::

    ExportError                 the root; `exit_code` is the exit code of the command
    ├── ExportRefusal           the export is not possible as requested; OUT is unchanged      2
    └── VerificationError       the result differs from its source by more than the limit      1
"""

from __future__ import annotations

from typing import ClassVar


class ExportError(Exception):
    """The root of export errors; the message is one line for the user."""

    exit_code: ClassVar[int] = 1


class ExportRefusal(ExportError):
    """The export is not possible: a wrong source, a missing file, no disk space. The message names what is valid."""

    exit_code = 2


class VerificationError(ExportError):
    """The exported model differs from its source by more than the limit."""
