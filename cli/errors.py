"""What a user can mend is shown as one line on stderr, without a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class UserError(Exception):
    """Says what is wrong and what would be right, in one line. `exit_code` is the command's."""

    exit_code = 2


def guarded(run: Callable[[], int]) -> int:
    """Run a command and return its exit code: 0 well, 2 something that its user can mend, 130 Ctrl-C.

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
