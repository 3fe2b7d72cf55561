"""OpenAI's Python SDK in typical use, with images that a model has really made."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.gateway.summary import ImageSummary

    Open = Callable[[bytes], ImageSummary]

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"extra_body": {"steps": 2, "seed": 7}}
SMALL: Any = "64x64"


@pytest.fixture(scope="module")
def sdk(gateway_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway_url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def files(answer: openai.types.ImagesResponse) -> list[bytes]:
    return [base64.b64decode(str(one.b64_json), validate=True) for one in answer.data or ()]


def levels(file: bytes) -> Any:
    """Return the levels of a file's pixels, 0 to 255."""
    with Image.open(BytesIO(file)) as image:
        return np.asarray(image, int)


def test_link_opens_without_a_key(sdk: openai.OpenAI, open_image: Open) -> None:
    """The simplest call returns a link, which needs no key, ends in the file's type and opens as an image."""
    answer = sdk.images.generate(prompt="a lake", size=SMALL, n=2, **QUICK)
    assert [one.b64_json for one in answer.data or ()] == [None, None]
    for one in answer.data or ():
        assert str(one.url).endswith(".png")
        assert open_image(httpx.get(str(one.url), trust_env=False).content) == ("PNG", (64, 64), "RGB")


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ({}, ("PNG", (64, 64), "RGB")),
        ({"output_format": "jpeg", "output_compression": 60}, ("JPEG", (64, 64), "RGB")),
        ({"output_format": "webp", "output_compression": 100}, ("WEBP", (64, 64), "RGB")),
        ({"background": "transparent"}, ("PNG", (64, 64), "RGBA")),
        ({"size": "1024x1024"}, ("PNG", (1024, 1024), "RGB")),
        ({"size": "auto"}, ("PNG", (256, 256), "RGB")),
        ({"quality": "low", "style": "vivid", "moderation": "low", "user": "me"}, ("PNG", (64, 64), "RGB")),
    ],
    ids=str,
)
def test_gpt_image_returns_base64(
    sdk: openai.OpenAI, open_image: Open, received: dict[str, Any], expected: ImageSummary
) -> None:
    """A gpt-image model returns base64 by default, in the requested file type, size and mode."""
    answer = sdk.images.generate(**({"prompt": "a lake", "model": "gpt-image-1", "size": SMALL} | QUICK | received))
    assert [open_image(file) for file in files(answer)] == [expected]
    assert answer.output_format == expected[0].lower()
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens > 0


def test_seed_makes_the_same_image(sdk: openai.OpenAI) -> None:
    """The same seed makes the same image, but for the rounding of another batch; the second has the next seed."""
    two, again, next_one = (
        files(sdk.images.generate(prompt="a lake", model="gpt-image-1", size=SMALL, n=n, extra_body=extra))
        for n, extra in ((2, {"steps": 2, "seed": 7}), (1, {"steps": 2, "seed": 7}), (1, {"steps": 2, "seed": 8}))
    )
    one, other, same, following = (levels(file) for file in (*two, *again, *next_one))
    assert np.abs(one - other).max() > 20
    assert max(np.abs(one - same).max(), np.abs(other - following).max()) <= 1


def test_stream_has_previews_then_the_image(sdk: openai.OpenAI, open_image: Open) -> None:
    """Previews come in order and in the size of the image, followed by the image with its usage."""
    with sdk.images.generate(
        prompt="a lake", size=SMALL, stream=True, partial_images=2, extra_body={"steps": 6}
    ) as stream:
        *partial, completed = list(stream)
    assert [(event.type, event.partial_image_index) for event in partial] == [  # type: ignore[union-attr]
        ("image_generation.partial_image", 0),
        ("image_generation.partial_image", 1),
    ]
    assert completed.type == "image_generation.completed"
    assert completed.usage.total_tokens > 0
    images = [open_image(base64.b64decode(event.b64_json, validate=True)) for event in (*partial, completed)]
    assert images == [("PNG", (64, 64), "RGB")] * 3


@pytest.mark.parametrize("several", [False, True])
def test_edit_with_files_and_a_mask(
    sdk: openai.OpenAI,
    open_image: Open,
    lake: bytes,
    mask: bytes,
    several: bool,  # noqa: FBT001
) -> None:
    """A file, or a list of them (`image[]`), and a mask: the response is base64, in the size of the image."""
    file = ("lake.png", lake, "image/png")
    answer = sdk.images.edit(
        image=[file, file] if several else file, mask=("mask.png", mask, "image/png"), prompt="a boat", **QUICK
    )
    assert [open_image(one) for one in files(answer)] == [("PNG", (128, 64), "RGB")]


def test_edit_stream_has_its_own_events(sdk: openai.OpenAI, lake: bytes) -> None:
    """Edits stream with their own event names."""
    with sdk.images.edit(image=("a.png", lake), prompt="a boat", stream=True, partial_images=1) as stream:
        assert {event.type for event in stream} == {"image_edit.partial_image", "image_edit.completed"}


@pytest.mark.filterwarnings("ignore:The 'dall-e-2' model is deprecated", "ignore::DeprecationWarning")
def test_variation_needs_no_prompt(sdk: openai.OpenAI, open_image: Open, lake: bytes) -> None:
    """Variations need no prompt."""
    answer = sdk.images.create_variation(image=lake, n=2, size="256x256", response_format="b64_json", **QUICK)
    assert [open_image(one) for one in files(answer)] == [("PNG", (256, 256), "RGB")] * 2


def test_models_are_listed_and_requested(sdk: openai.OpenAI) -> None:
    """The models are listed, and each can be requested by its id or by an alias."""
    (model,) = sdk.models.list()
    assert sdk.models.retrieve(model.id) == model
    assert sdk.models.retrieve("dall-e-3").id == "dall-e-3"
    assert (model.object, model.owned_by) == ("model", "tintype")


@pytest.mark.parametrize(
    ("received", "raised", "code", "param"),
    [
        ({"model": "nope"}, openai.NotFoundError, "model_not_found", "model"),
        ({"n": 11}, openai.BadRequestError, "invalid_value", "n"),
        ({"size": "99999x99999"}, openai.BadRequestError, "invalid_value", "size"),
        ({"prompt": ""}, openai.BadRequestError, None, "prompt"),
        ({"quality": "best"}, openai.BadRequestError, "invalid_value", "quality"),
        ({"style": "photo"}, openai.BadRequestError, "invalid_value", "style"),
        ({"extra_body": {"sampler": "nope"}}, openai.BadRequestError, "invalid_value", "sampler"),
        ({"extra_body": {"image": "aGk="}}, openai.BadRequestError, "invalid_image_file", "image"),
    ],
    ids=str,
)
def test_errors_have_code_and_parameter(
    sdk: openai.OpenAI, received: dict[str, Any], raised: type[openai.APIStatusError], code: str | None, param: str
) -> None:
    """Errors are the SDK's own class, with code and parameter."""
    with pytest.raises(raised) as caught:
        sdk.images.generate(**({"prompt": "x"} | received))
    assert (caught.value.code, caught.value.param) == (code, param)


def test_azure_client(gateway_url: str, open_image: Open) -> None:
    """The SDK's client for Azure: `api-key`, `api-version`, and the model in the path."""
    with openai.AzureOpenAI(azure_endpoint=gateway_url, api_key="none", api_version="2025-04-01-preview") as client:
        answer = client.images.generate(model="gpt-image-1", prompt="a lake", size=SMALL, **QUICK)
    assert [open_image(file) for file in files(answer)] == [("PNG", (64, 64), "RGB")]


@pytest.mark.parametrize("size", ["256x256", "1024x1024"])
def test_calls_of_aqueduct(gateway_url: str, open_image: Open, size: Any) -> None:
    """Aqueduct's calls to a server behind it: this SDK, dall-e-2, two sizes, base64, at most 60 seconds."""
    with openai.OpenAI(base_url=f"{gateway_url}/v1", api_key="none", timeout=60) as client:
        answer = client.images.generate(
            model="dall-e-2", prompt="a lake", n=1, size=size, response_format="b64_json", **QUICK
        )
    side = int(size.partition("x")[0])
    assert [open_image(file) for file in files(answer)] == [("PNG", (side, side), "RGB")]
    assert [one.url for one in answer.data or ()] == [None]
