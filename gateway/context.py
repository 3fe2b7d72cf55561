"""What request handlers need of the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tintype.v1.rates import RateLimits

    from .access.caller import Caller
    from .access.keys import Keys
    from .access.model_names import Names
    from .config import GatewayConfig
    from .requests.idempotency import Repeats
    from .results.store import Store
    from .uploads.reading import ImageReader
    from .upstream.client import ImageClient
    from .upstream.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Gateway:
    """The resources that all requests share."""

    config: GatewayConfig
    client: ImageClient
    store: Store
    names: Names
    keys: Keys
    limits: RateLimits
    image_limits: RateLimits
    repeats: Repeats
    images: ImageReader
    readiness: Readiness
    caller: Caller | None = None  # set in the copy for one caller's request
