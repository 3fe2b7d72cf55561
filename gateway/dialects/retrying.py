"""Headers that tell clients whether, and when, to ask again. OpenAI's SDKs obey them; others may."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..errors import GatewayError

# The SDKs repeat all 5xx and 429 twice, which would draw each image three times: only where a retry may help.
IN_VAIN = {429, 500, 501, 503, 504, 507}


def retry_headers(exc: GatewayError) -> dict[str, str]:
    """Return when to come back, in whole seconds and in milliseconds, or that coming back is of no use."""
    if exc.retry_after is not None:
        seconds = max(1, math.ceil(exc.retry_after))
        return {"retry-after": str(seconds), "retry-after-ms": str(math.ceil(exc.retry_after * 1000))}
    return {"x-should-retry": "false"} if exc.status in IN_VAIN else {}
