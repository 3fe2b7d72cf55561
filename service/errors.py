"""All errors of the service, as one tree, with their gRPC codes.

::

    TintypeError
    ├── InvalidRequest              one or more fields are wrong        INVALID_ARGUMENT
    │   └── InvalidField            exactly one field is wrong
    ├── Unauthenticated             the call has no key                 UNAUTHENTICATED
    │   └── WrongKey                the key is unknown
    ├── PermissionDenied            this is not allowed                 PERMISSION_DENIED
    │   ├── AdminOnly               loading and unloading models
    │   ├── ModelNotAllowed         using other models
    │   └── ImageRefused            a safety checker refuses the image
    ├── ModelNotFound               no model has this name              NOT_FOUND
    ├── ModelBroken                 the model's folder is unusable      FAILED_PRECONDITION
    ├── Unsupported                 in the contract, not served here    UNIMPLEMENTED
    ├── RetryLater                  carries the delay of a retry
    │   ├── QueueFull               too many requests wait              RESOURCE_EXHAUSTED
    │   ├── RateLimited             the key exceeds its rate            RESOURCE_EXHAUSTED
    │   └── Unavailable             draining, or not ready yet          UNAVAILABLE
    ├── OutOfMemory                 too large for this device           RESOURCE_EXHAUSTED
    ├── DeadlineExceeded            not done in time                    DEADLINE_EXCEEDED
    ├── Cancelled                   the client disconnected             CANCELLED
    └── GenerationFailed            the model gave no usable image      INTERNAL

`service.rpc.status` maps this tree to gRPC. Messages are for people: they name the field, the value and what would be
right. `reason` is for programs and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, ClassVar

from tintype.v1.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence


class TintypeError(Exception):
    """Base class of all errors. `reason` is a stable name for programs, `metadata` are facts for them, as strings."""

    reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field of a request: its name in the contract, and what would be right."""

    field: str
    problem: str


class InvalidRequest(TintypeError):
    """One or more fields of a request are wrong."""

    reason = Reason.INVALID_FIELD

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.problem}" for v in violations), field=violations[0].field)


class InvalidField(InvalidRequest):
    """One field is wrong: `InvalidField("steps", "must be 1 to 150, not 900")`."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__([Violation(field, problem)])
        self.field = field


class Unauthenticated(TintypeError):
    """The call has no key, or a wrong one."""

    reason = Reason.NO_KEY

    def __init__(self, problem: str = "the call has no API key") -> None:
        super().__init__(f"{problem}: send one as metadata 'authorization: Bearer KEY'")


class WrongKey(Unauthenticated):
    """The call has an unknown key."""

    reason = Reason.WRONG_KEY

    def __init__(self) -> None:
        super().__init__("the API key is not valid")


class PermissionDenied(TintypeError):
    """The call, or its result, is not allowed."""


class AdminOnly(PermissionDenied):
    """The key may not load or unload models."""

    reason = Reason.ADMIN_ONLY

    def __init__(self) -> None:
        super().__init__("this API key may not load or unload models; `tintype keys create NAME --admin` makes one")


class ModelNotAllowed(PermissionDenied):
    """The key is for other models."""

    reason = Reason.MODEL_NOT_ALLOWED

    def __init__(self, name: str, allowed: Sequence[str]) -> None:
        super().__init__(f"this API key is for {', '.join(allowed)}, not for {name!r}", model=name, field="model")


class ImageRefused(PermissionDenied):
    """The safety checker of a model refuses an image; the whole request ends."""

    reason = Reason.MODERATION_BLOCKED

    def __init__(self, model: str) -> None:
        what = f"the safety checker of model {model!r} refuses an image of this request"
        super().__init__(f"{what}: another seed or prompt may give an image that it accepts")


class ModelNotFound(TintypeError):
    """No model has this name; the message lists the existing ones."""

    reason = Reason.MODEL_NOT_FOUND

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no model {name!r}; there are: {', '.join(known) or 'none'}", model=name)


class ModelBroken(TintypeError):
    """The folder of a model is incomplete or damaged; the message lists every fault."""

    reason = Reason.MODEL_BROKEN

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"model {name!r} can't be served: " + "; ".join(faults), model=name)


class Unsupported(TintypeError):
    """The contract has the field, but this server or this model does not serve it."""

    reason = Reason.UNSUPPORTED

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(f"{field}: {problem}", field=field)


class RetryLater(TintypeError):
    """Base class of errors after which a retry may help, in `retry_after` seconds (None: unknown)."""

    def __init__(self, message: str, *, retry_after: float | None = None, **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.retry_after = retry_after


class QueueFull(RetryLater):
    """The queue is full."""

    reason = Reason.QUEUE_FULL


class RateLimited(RetryLater):
    """The key has used up its rate."""

    reason = Reason.RATE_LIMIT_EXCEEDED


class OutOfMemory(TintypeError):
    """The request, or its model, is too large for this device."""

    reason = Reason.OUT_OF_MEMORY


class DeadlineExceeded(TintypeError):
    """The request was not or can't be done before its deadline."""

    reason = Reason.DEADLINE_EXCEEDED


class Cancelled(TintypeError):
    """The client disconnected or cancelled the call."""

    reason = Reason.CANCELLED


class Unavailable(RetryLater):
    """The server is shutting down, or not ready yet."""

    reason = Reason.UNAVAILABLE


class GenerationFailed(TintypeError):
    """The model gave no usable image: a call failed, or the latents are not finite."""

    reason = Reason.GENERATION_FAILED


def check_range(field: str, value: float, low: float, high: float) -> None:
    """Raise InvalidField unless `value` is a finite number from `low` to `high`."""
    if not isfinite(value) or not low <= value <= high:
        shown = value if isinstance(value, int) else format(value, "g")
        raise InvalidField(field, f"must be {low} to {high}, not {shown}")


def check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    """Raise InvalidField unless `value` is one of `choices`."""
    if value not in choices:
        raise InvalidField(field, f"must be one of {', '.join(choices)}, not {value!r}")
