"""Everything that can go wrong with a request, drawn once.

::

    TintypeError
    ├── InvalidRequest              one or more fields are wrong        INVALID_ARGUMENT
    │   └── InvalidField            exactly one
    ├── Unauthenticated             no key                              UNAUTHENTICATED
    │   └── WrongKey                a key that is not ours
    ├── PermissionDenied            the key may not do this             PERMISSION_DENIED
    │   ├── AdminOnly               load and unload models
    │   └── ModelNotAllowed         use other models
    ├── ModelNotFound               no model of that name               NOT_FOUND
    ├── ModelBroken                 its folder can't be served          FAILED_PRECONDITION
    ├── Unsupported                 known, but not served here          UNIMPLEMENTED
    ├── RetryLater                  says when to come back
    │   ├── QueueFull               too many wait                       RESOURCE_EXHAUSTED
    │   ├── RateLimited             more than the key may have          RESOURCE_EXHAUSTED
    │   └── Unavailable             draining, or not ready yet          UNAVAILABLE
    ├── OutOfMemory                 too large for this device           RESOURCE_EXHAUSTED
    ├── DeadlineExceeded            not done in time                    DEADLINE_EXCEEDED
    ├── Cancelled                   the caller left                     CANCELLED
    └── GenerationFailed            the model gave no usable picture    INTERNAL

`service.rpc.status` maps this tree to gRPC, once. Messages are for people and say what was wrong, where, and what would
be right; `reason` is for programs and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, ClassVar

from tintype.v1.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence


class TintypeError(Exception):
    """The root. `reason` is the stable name that programs see; `metadata` are facts for them, all strings."""

    reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of a request: its name as in the contract, and what would be right."""

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
    """The call has a key that this server does not know."""

    reason = Reason.WRONG_KEY

    def __init__(self) -> None:
        super().__init__("the API key is not valid")


class PermissionDenied(TintypeError):
    """The key may not make this call."""


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


class ModelNotFound(TintypeError):
    """There is no model of that name; says which there are."""

    reason = Reason.MODEL_NOT_FOUND

    def __init__(self, name: str, known: Sequence[str]) -> None:
        there = ", ".join(known) or "none"
        super().__init__(f"there is no model {name!r}; there are: {there}", model=name)


class ModelBroken(TintypeError):
    """A model's folder is incomplete or damaged; each fault is named."""

    reason = Reason.MODEL_BROKEN

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"model {name!r} can't be served: " + "; ".join(faults), model=name)


class Unsupported(TintypeError):
    """The contract knows the field, but this server or this model does not serve it."""

    reason = Reason.UNSUPPORTED

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(f"{field}: {problem}", field=field)


class RetryLater(TintypeError):
    """Parent of those that say when to come back: `retry_after` in seconds, or None where nobody knows."""

    def __init__(self, message: str, *, retry_after: float | None = None, **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.retry_after = retry_after


class QueueFull(RetryLater):
    """As many requests wait as may wait."""

    reason = Reason.QUEUE_FULL


class RateLimited(RetryLater):
    """The key has used its rate for now."""

    reason = Reason.RATE_LIMIT_EXCEEDED


class OutOfMemory(TintypeError):
    """The request, or its model, is too large for this device."""

    reason = Reason.OUT_OF_MEMORY


class DeadlineExceeded(TintypeError):
    """It was not done, or can't be done, in the time that the caller gave."""

    reason = Reason.DEADLINE_EXCEEDED


class Cancelled(TintypeError):
    """The caller left."""

    reason = Reason.CANCELLED


class Unavailable(RetryLater):
    """The server drains, or is not ready yet."""

    reason = Reason.UNAVAILABLE


class GenerationFailed(TintypeError):
    """The model gave no usable picture: a call failed, or the latents are not finite."""

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
