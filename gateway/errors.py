"""All errors that the gateway sends as responses, as one tree.

::

    GatewayError                    status  reason
    ├── BadRequest                  400     the request is invalid
    │   ├── NotJson                         the body is not a JSON object
    │   ├── EmptyPrompt                     the prompt is empty or missing
    │   ├── InvalidValue                    a field has an invalid value
    │   ├── InvalidImage                    an upload is not a readable image
    │   │   └── ImageNotFetched             a URL does not lead to an image
    │   ├── UnknownParameter                a key is unknown, and unknown keys are errors
    │   └── NotServed                       the vendor's API has this feature, the gateway does not
    ├── NoKey                       401     a key is required, and the request has none
    │   └── WrongKey                401     the key is unknown
    ├── ModelNotAllowed             403     the key does not allow the model
    ├── AdminOnly                   403     the key may not load or unload models
    │   └── OwnUsageOnly            403     the key may see only its own usage
    ├── ForeignHost                 403     the host name is not the gateway's
    ├── ForeignPage                 403     a web page of an origin that is not allowed
    ├── BodyTooSlow                 408     the body did not arrive in time
    ├── BodyTooLarge                413
    ├── WrongContentType            415
    ├── KeyReused                   422     an Idempotency-Key with another body than before
    ├── ContentRefused              400     the moderation service flags the prompt or an image
    ├── ModerationUnavailable       503     the moderation service does not work
    ├── TooManyRequests             429     the caller exceeds the gateway's rate limit
    ├── TooManyUploads              503     all requests together hold too much memory
    ├── NoSuchPath                  404
    ├── NoSuchFile                  404     an unknown result, or an expired link
    ├── NoSuchMethod                405     the header `allow` names the allowed methods
    ├── ClientGone                  499     the client closed the connection
    ├── StoreFull                   507     no space for results by link
    ├── StoreUnavailable            503     the store of results does not work
    ├── DatabaseUnavailable         503     the database in the data folder does not work
    ├── GatewayStopping             503     the gateway stopped before the images were generated
    ├── ServiceError                        an error of the gRPC service; `status` translates its code
    └── Fault                       500     an unexpected exception

    StartError                              the gateway can't start; never sent as a response

NoKey to TooManyUploads are in `access.rejections`, OwnUsageOnly is in `usage.routes`,
DatabaseUnavailable in `database`. A dialect renders an error by
`reason` if it has a code for it, otherwise by `status`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tintype.v1.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class StartError(Exception):
    """The gateway can't start; the message is one line, `exit_code` the exit code of the command."""

    exit_code = 2


class GatewayError(Exception):
    """Base class of all errors that the gateway sends as responses.

    `status` is the HTTP status, `reason` a stable name, `param` the faulty field as the client named it. `retry_after`
    is in seconds, or None if a retry does not help. `headers` are sent with the response in every dialect.
    """

    status: int = 500
    reason: str = Reason.FAULT
    retry_after: float | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadRequest(GatewayError):
    """The request is invalid."""

    status = 400
    reason = Reason.BAD_REQUEST


class NotJson(BadRequest):
    """The body is not a JSON object."""

    reason = Reason.NOT_JSON


class EmptyPrompt(BadRequest):
    """The prompt is empty or missing."""

    reason = Reason.EMPTY_PROMPT

    def __init__(self, param: str = "prompt", *, missing: bool = False) -> None:
        start = f"The request has no '{param}': describe" if missing else "Describe"
        super().__init__(f"Invalid '{param}': empty string. {start} what the image should show.", param=param)


class InvalidValue(BadRequest):
    """A field has an invalid value: `InvalidValue("n", "must be an integer from 1 to 10, not 11")`."""

    reason = Reason.INVALID_VALUE

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"Invalid '{param}': {problem}.", param=param)
        self.problem = problem


class InvalidImage(BadRequest):
    """An upload is not a readable image: `InvalidImage("mask", "must be a PNG, JPEG or WebP file")`."""

    reason = Reason.INVALID_IMAGE_FILE

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"Invalid '{param}': {problem}.", param=param)


class ImageNotFetched(InvalidImage):
    """A URL does not lead to an image, or may not be fetched."""

    reason = Reason.IMAGE_NOT_FETCHED


class UnknownParameter(BadRequest):
    """The body has an unknown key, and the configuration makes that an error."""

    reason = Reason.UNKNOWN_PARAMETER

    def __init__(self, param: str) -> None:
        super().__init__(f"Unknown parameter: '{param[:100]}'.", param=param[:100])


class NotServed(BadRequest):
    """The vendor's API has this feature, the gateway does not."""

    reason = Reason.NOT_SERVED

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"'{param}' {problem}.", param=param)


class NoSuchPath(GatewayError):
    """No route has this path."""

    status = 404
    reason = Reason.NO_SUCH_PATH


class NoSuchFile(GatewayError):
    """The result does not exist, or its link is invalid or has expired; the message does not say which."""

    status = 404
    reason = Reason.NO_SUCH_FILE

    def __init__(self) -> None:
        super().__init__("There is no such file, or its link has expired.")


class NoSuchMethod(GatewayError):
    """The path does not allow this method; `allow` names the allowed ones."""

    status = 405
    reason = Reason.NO_SUCH_METHOD

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.headers = {"allow": allow}


class ClientGone(GatewayError):
    """The client has closed the connection."""

    status = 499
    reason = Reason.CLIENT_GONE

    def __init__(self) -> None:
        super().__init__("The client closed the connection before the response was ready.")


class StoreFull(GatewayError):
    """There is no space for results by link."""

    status = 507
    reason = Reason.STORE_FULL

    def __init__(self, message: str = "There is no space left for results. Ask for 'b64_json', or try later.") -> None:
        super().__init__(message)


class StoreUnavailable(GatewayError):
    """Results by link can't be stored or read now; the log says why. A retry would generate the images again."""

    status = 503
    reason = Reason.STORE_UNAVAILABLE
    headers = MappingProxyType({"x-should-retry": "false"})

    def __init__(self) -> None:
        super().__init__("The store of results does not work now. Ask for 'b64_json', or try later.")


class Fault(GatewayError):
    """An unexpected exception; the log has the details."""

    def __init__(self) -> None:
        super().__init__("The server had an error while processing your request; its log has the details.")


class GatewayStopping(GatewayError):
    """The gateway is stopping, and the grace period of the request is over."""

    status = 503
    reason = Reason.STOPPING
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The server is stopping, and the request was not done in time. Send it again.")


class ServiceError(GatewayError):
    """An error of the gRPC service: HTTP status, reason and facts of its ErrorInfo, and the faulty fields.

    `violations` are pairs of a field, named as in the contract, and its problem. `with_client_names` translates the
    field names to the client's.
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

    def with_client_names(self, names: Mapping[str, str]) -> ServiceError:
        """Return this error with the client's field names; `names` maps fields of the contract to its keys."""
        faults = [(names.get(field, field), field, problem) for field, problem in self.violations]
        message = " ".join(f"Invalid '{key}': {_describe(key, field, problem)}." for key, field, problem in faults)
        field = faults[0][1] if faults else self._field_in_facts()
        return ServiceError(
            message or self.message,
            status=self.status,
            reason=self.reason,
            violations=self.violations,
            facts=self.facts,
            retry_after=self.retry_after,
            param=names.get(field, field) if field else self.param,
        )

    def _field_in_facts(self) -> str | None:
        """Return the field that the facts name; for status 404 it is the model."""
        return self.facts.get("field") or ("model" if "model" in self.facts or self.status == 404 else None)


def _describe(key: str, field: str, problem: str) -> str:
    """Return the problem, prefixed with the field if the key stands for two (`size` for width and height)."""
    return f"{field} {problem}" if field in ("width", "height") and key != field else problem
