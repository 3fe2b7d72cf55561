"""Exit codes of all commands, and errors that the user can fix.

Such an error is one line on stderr, without a traceback.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
EXIT_CODES = {
    0: "success, or stopped by a signal",
    1: "a bug in tintype; stderr has a traceback",
    USER_ERROR: "an error that the user can fix, such as a wrong setting; stderr explains it in one line",
    3: "a server of `tintype up` crashed, and restarting it did not help",
    INTERRUPTED: "interrupted by Ctrl-C",
}


class UserError(Exception):
    """An error that the user can fix. The message is one line; `exit_code` is the command's."""

    exit_code = USER_ERROR


def run_with_exit_code(run: Callable[[], int]) -> int:
    """Call `run` and return the exit code of the command, one of EXIT_CODES.

    An error with an `exit_code` becomes one line on stderr. Any other error is a bug and keeps its traceback.
    """
    try:
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # as in `tintype models | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        sys.stderr.write(f"tintype: {' '.join(str(error).split())}\n")
        return int(error.exit_code)
