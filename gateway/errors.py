"""Everything that the gateway answers instead of a picture, drawn once.

::

    GatewayError                    status  reason
    ├── BadRequest                  400     the request as a whole is at fault
    │   ├── NotJson                         its body is no JSON object
    │   ├── EmptyPrompt                     there is nothing to draw
    │   ├── InvalidValue                    a field has a value that it can't have
    │   ├── BadPicture                      what was sent is no picture that can be read
    │   │   └── NotFetched                  or there is none at its URL
    │   ├── UnknownParameter                a key that nobody knows, where that is forbidden
    │   └── NotServed                       known, but not served yet
    ├── NoKey                       401     keys are needed, and the request has none (`denials` has this …
    │   └── WrongKey                401     or one that is not ours
    ├── ModelNotAllowed             403     the key is for other models
    ├── ForeignHost                 403     the request was sent to a name that is not ours
    ├── ForeignPage                 403     a web page sent it, and none that may
    ├── BodyTooSlow                 408     it has not come in time
    ├── BodyTooLarge                413
    ├── WrongContentType            415
    ├── KeyReused                   422     an Idempotency-Key that stands for another request
    ├── TooManyRequests             429     from one caller, by the gateway's own count; … down to this)
    ├── TooManyUploads              503     the bodies of all requests together take too much memory
    ├── NoSuchPath                  404
    ├── NoSuchFile                  404     or its link has expired
    ├── NoSuchMethod                405     the header `allow` names those that there are
    ├── ClientGone                  499     nobody reads the answer
    ├── StoreFull                   507     results by link have no room
    ├── StoreUnavailable            503     or their store is out of order
    ├── Stopping                    503     the gateway's grace was over before the pictures were done
    ├── ServiceError                        what the gRPC service said; `status` translates its code
    └── Fault                       500     a mistake of ours

    StartError                              the gateway can't start; not the answer to any request

A dialect renders these: by `reason`, where it has a word of its own for that, else by `status`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class StartError(Exception):
    """The gateway can't start; the text is one line for the person who started it, `exit_code` the command's."""

    exit_code = 2


class GatewayError(Exception):
    """The root. `status` is HTTP's, `reason` a stable name, `param` the field at fault in the client's own words.

    `retry_after` is in seconds, or None where coming back is not the remedy; `headers` go with the answer, whatever its
    dialect.
    """

    status: int = 500
    reason: str = "FAULT"
    retry_after: float | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadRequest(GatewayError):
    """The request is at fault."""

    status = 400
    reason = "BAD_REQUEST"


class NotJson(BadRequest):
    """The body is no JSON, or JSON but no object."""

    reason = "NOT_JSON"


class EmptyPrompt(BadRequest):
    """There is nothing to draw."""

    reason = "EMPTY_PROMPT"

    def __init__(self, param: str = "prompt", *, missing: bool = False) -> None:
        there = f"There is no '{param}' in the request: say" if missing else "Say"
        super().__init__(f"Invalid '{param}': empty string. {there} what the picture shall show.", param=param)


class InvalidValue(BadRequest):
    """A field's value is wrong: `InvalidValue("n", "must be an integer from 1 to 10, not 11")`."""

    reason = "INVALID_VALUE"

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"Invalid '{param}': {problem}.", param=param)


class BadPicture(BadRequest):
    """A file that was sent is none that can be read: `BadPicture("mask", "must be a PNG, JPEG or WebP file")`."""

    reason = "INVALID_IMAGE_FILE"

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"Invalid '{param}': {problem}.", param=param)


class NotFetched(BadPicture):
    """A URL gives no picture, or may not be asked for one."""

    reason = "IMAGE_NOT_FETCHED"


class UnknownParameter(BadRequest):
    """The body has a key that nobody knows, and the configuration says that this is an error."""

    reason = "UNKNOWN_PARAMETER"

    def __init__(self, param: str) -> None:
        super().__init__(f"Unknown parameter: '{param[:100]}'.", param=param[:100])


class NotServed(BadRequest):
    """The vendor has this, and this gateway does not yet."""

    reason = "NOT_SERVED"

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"'{param}' {problem}.", param=param)


class NoSuchPath(GatewayError):
    """Nothing is served there."""

    status = 404
    reason = "NO_SUCH_PATH"


class NoSuchFile(GatewayError):
    """There is no such result, or its link is not ours or has expired: which, is nobody's business."""

    status = 404
    reason = "NO_SUCH_FILE"

    def __init__(self) -> None:
        super().__init__("There is no such file, or its link has expired.")


class NoSuchMethod(GatewayError):
    """The path is served, but not with this method; `allow` names those that it is served with."""

    status = 405
    reason = "NO_SUCH_METHOD"

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.headers = {"allow": allow}


class ClientGone(GatewayError):
    """The client has closed the connection."""

    status = 499
    reason = "CLIENT_GONE"

    def __init__(self) -> None:
        super().__init__("The client closed the connection before the answer was ready.")


class StoreFull(GatewayError):
    """There is no room for results by link."""

    status = 507
    reason = "STORE_FULL"

    def __init__(self, message: str = "There is no space left for results. Ask for 'b64_json', or try later.") -> None:
        super().__init__(message)


class StoreUnavailable(GatewayError):
    """Results by link can't be kept or found now; the log says why. Repeating would have the pictures made again."""

    status = 503
    reason = "STORE_UNAVAILABLE"
    headers = MappingProxyType({"x-should-retry": "false"})

    def __init__(self) -> None:
        super().__init__("The store of results does not work now. Ask for 'b64_json', or try later.")


class Fault(GatewayError):
    """A mistake of ours; the log says more than the answer."""

    def __init__(self) -> None:
        super().__init__("The server had an error while processing your request. Its log says what.")


class Stopping(GatewayError):
    """The gateway was told to stop, and what ran has had its grace."""

    status = 503
    reason = "STOPPING"
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The server stops, and the request was not done in time: send it again.")


class ServiceError(GatewayError):
    """What the gRPC service said: HTTP status, its ErrorInfo's reason and facts, and what is wrong with which field.

    `violations` are pairs of a field, named as in the contract, and its problem. `named` turns them into the words
    of a client.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str = "",
        violations: Sequence[tuple[str, str]] = (),
        facts: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.reason = reason
        self.violations = tuple(violations)
        self.facts = dict(facts or {})
        self.retry_after = retry_after

    def named(self, names: Mapping[str, str]) -> ServiceError:
        """Return this error in the client's words; `names` maps fields of the contract to the keys it used."""
        faults = [(names.get(field, field), field, problem) for field, problem in self.violations]
        message = " ".join(f"Invalid '{key}': {_told(key, field, problem)}." for key, field, problem in faults)
        field = faults[0][1] if faults else self._field()
        return ServiceError(
            message or self.message,
            status=self.status,
            reason=self.reason,
            violations=self.violations,
            facts=self.facts,
            retry_after=self.retry_after,
            param=names.get(field, field) if field else self.param,
        )

    def _field(self) -> str | None:
        """Return the field that the facts tell of; what the service does not find are models."""
        return self.facts.get("field") or ("model" if "model" in self.facts or self.status == 404 else None)


def _told(key: str, field: str, problem: str) -> str:
    """Return the problem, with the field where one key stands for two of them (`size` for width and height)."""
    return f"{field} {problem}" if field in ("width", "height") and key != field else problem
