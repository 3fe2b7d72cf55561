"""What request handlers need: the resources that all requests share, and the context of one caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from litestar import Request

from .errors import NoSuchPath

if TYPE_CHECKING:
    from tintype.v1.rates import RateLimits

    from .access.caller import Caller, CallerClient
    from .access.keys import ClientKeys
    from .access.model_names import ModelNames
    from .config import GatewayConfig
    from .http.body_limits import BodyMemory
    from .jobs.queue import Jobs
    from .requests.idempotency import IdempotencyCache
    from .results.store import Store
    from .uploads.reading import ImageReader
    from .upstream.client import ImageClient
    from .upstream.model_cache import ModelCache
    from .upstream.readiness import Readiness
    from .usage.log import UsageLog

AnyRequest: TypeAlias = Request[Any, Any, Any]


@dataclass(slots=True, eq=False)
class Gateway:
    """The resources that all requests share. `config` and `names` are replaced when the settings are read again."""

    config: GatewayConfig
    client: ImageClient
    models: ModelCache
    store: Store
    names: ModelNames
    keys: ClientKeys
    body_memory: BodyMemory
    request_rates: RateLimits
    image_rates: RateLimits
    idempotency: IdempotencyCache
    images: ImageReader
    readiness: Readiness
    usage: UsageLog | None
    jobs: Jobs | None = None

    def require_jobs(self) -> Jobs:
        """Return the jobs. Raises NoSuchPath if the gateway runs none."""
        if self.jobs is None:
            raise NoSuchPath("The gateway runs no jobs: it was started with --jobs 0.")
        return self.jobs


@dataclass(frozen=True, slots=True)
class CallerContext:
    """The gateway for one caller: a client that applies the caller's limits, and the caller's model names.

    `key` is the name of the caller's key, empty without one.
    """

    gateway: Gateway
    caller: Caller
    key: str
    client: CallerClient
    names: ModelNames
