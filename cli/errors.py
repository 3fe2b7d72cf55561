"""Exit codes of all commands, and errors that the user can fix.

Such an error is one line on stderr, without a traceback.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = 2
EXIT_CODES = {
    0: "done, or stopped by a signal",
    1: "an error in tintype itself; stderr has a traceback",
    SETTINGS: "something that the user can fix, such as a setting; stderr says what in one line",
    3: "a server of `tintype up` crashed, and new starts did not help",
    130: "interrupted by Ctrl-C",
}


class UserError(Exception):
    """Says what is wrong and what would be right, in one line. `exit_code` is the command's."""

    exit_code = SETTINGS


def guarded(run: Callable[[], int]) -> int:
    """Run a command and return its exit code, one of EXIT_CODES.

    An error that has an `exit_code` is for the user. All others are bugs and keep their traceback.
    """
    try:
        return run()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # of `tintype models | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        sys.stderr.write(f"tintype: {' '.join(str(error).split())}\n")
        return int(error.exit_code)
