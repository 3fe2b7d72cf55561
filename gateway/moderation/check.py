"""The moderation service: one HTTP call for each prompt or image, as in OpenAI's `POST /v1/moderations`.

- A prompt is sent as text, an image as a data URL.
- A call that fails for lack of a connection is repeated once. Redirects are errors. Answers are read up to MAX_ANSWER
  bytes.
- An answer counts only if it is complete; anything else is a failure of the service.
- Logs name the categories that the service gave, and neither prompts nor its own messages.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tintype.v1.settings import mask_credentials

from ..access.rejections import ContentRefused, ModerationUnavailable
from ..errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from ..config import GatewayConfig

log = logging.getLogger(__name__)

MAX_ANSWER = 2**18  # bytes
MAX_CATEGORIES = 8  # named in the log
_PLAIN = re.compile(r"[\w /.-]{1,64}", re.ASCII)


class CheckFailed(Exception):
    """The moderation service gave no verdict; the message says why, for the log."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the moderation service: whether it flags the content, and for which categories."""

    flagged: bool
    categories: tuple[str, ...] = ()


class ModerationService:
    """A moderation service at `url`; `aclose` it after the last check.

    Each check takes at most `timeout` seconds. If the service fails, content is accepted if the check is `optional`.
    `count` is called with the outcome of each check: what was checked, and accepted, refused or failed.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        model: str = "",
        timeout: float = 10.0,
        optional: bool = False,
        count: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._url, self._timeout, self._optional, self._count = url, timeout, optional, count
        self._fixed = {"model": model} if model else {}
        headers = {"accept": "application/json", "accept-encoding": "identity", "content-type": "application/json"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(
            headers=headers, timeout=timeout, trust_env=False, verify=httpx.create_ssl_context()
        )

    @classmethod
    def from_config(cls, config: GatewayConfig, count: Callable[[str, str], None]) -> Self:
        """Return the service that a configuration names. Raises StartError."""
        try:
            httpx.URL(config.moderation)
        except httpx.InvalidURL as error:
            raise StartError(
                f"--moderation must be a URL; got {mask_credentials(config.moderation)!r}: {error}"
            ) from error
        return cls(
            config.moderation,
            key=config.moderation_key,
            model=config.moderation_model,
            timeout=config.moderation_timeout,
            optional=config.moderation_optional,
            count=count,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def check_text(self, what: str, text: str, request_id: str) -> None:
        """Check a text; `what` names it in messages. Raises ContentRefused, ModerationUnavailable."""
        await self._check(what, self._encode(text), request_id)

    async def check_image(self, what: str, data: bytes, mime_type: str, request_id: str) -> None:
        """Check an image file; `what` names it in messages. Raises ContentRefused, ModerationUnavailable."""
        body = await asyncio.to_thread(lambda: self._encode(image_input(data, mime_type)))
        await self._check(what, body, request_id)

    def _encode(self, content: str | list[Any]) -> bytes:
        return json.dumps({**self._fixed, "input": content}).encode()

    async def _check(self, what: str, body: bytes, request_id: str) -> None:
        try:
            verdict = await self._ask(body)
        except CheckFailed as error:
            self._count(what, "failed")
            outcome = "is served unchecked" if self._optional else "gets 503"
            log.warning("%s: the moderation of the %s failed, and the request %s: %s", request_id, what, outcome, error)
            if self._optional:
                return
            raise ModerationUnavailable from error
        self._count(what, "refused" if verdict.flagged else "accepted")
        if verdict.flagged:
            log.info("%s: moderation refused the %s: %s", request_id, what, ", ".join(verdict.categories) or "flagged")
            raise ContentRefused(what)

    async def _ask(self, body: bytes) -> Verdict:
        """Return the verdict on a request's body. Raises CheckFailed."""
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    answer = await self._post(body)
                except (httpx.NetworkError, httpx.RemoteProtocolError):  # an idle connection may have been closed
                    answer = await self._post(body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise CheckFailed(f"no answer within {self._timeout:g} s") from error
        except httpx.HTTPError as error:
            raise CheckFailed(f"{type(error).__name__}: {error}") from error
        return await asyncio.to_thread(parse_answer, answer)

    async def _post(self, body: bytes) -> bytes:
        async with self._http.stream("POST", self._url, content=body) as response:
            if response.status_code != httpx.codes.OK:
                raise CheckFailed(f"the status of its answer is {response.status_code}")
            answer = bytearray()
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > MAX_ANSWER:
                    raise CheckFailed(f"its answer has more than {MAX_ANSWER} bytes")
        return bytes(answer)


def image_input(data: bytes, mime_type: str) -> list[Any]:
    """Return an image file as OpenAI's input."""
    url = f"data:{mime_type};base64,{base64.b64encode(data).decode()}"
    return [{"type": "image_url", "image_url": {"url": url}}]


def parse_answer(answer: bytes) -> Verdict:
    """Return the verdict of an answer: flagged if one of its results is. Raises CheckFailed."""
    try:
        content = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise CheckFailed("its answer is not JSON") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, list) or not results:
        raise CheckFailed("its answer has no results")
    flags = [result.get("flagged") if isinstance(result, dict) else None for result in results]
    if not all(isinstance(each, bool) for each in flags):
        raise CheckFailed("a result of its answer has no flagged, true or false")
    flagged = [result for result in results if result["flagged"]]
    return Verdict(bool(flagged), tuple(name for result in flagged for name in _categories(result))[:MAX_CATEGORIES])


def _categories(result: Mapping[str, Any]) -> list[str]:
    """Return the names of a result's categories that apply, if they are plain."""
    categories = result.get("categories")
    pairs = categories.items() if isinstance(categories, dict) else ()
    return [name for name, applies in pairs if applies is True and _PLAIN.fullmatch(name)]
