"""Images to edit: which of them a model gets as references, which one it starts from, and which are not used."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.fakes import PATH, FakeService, Refusal, Service, config, running_gateway
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import B64, LAKE, image_file
from tintype.gateway.dialects.dialect import Call, ClientImage
from tintype.gateway.requests.draft import Draft
from tintype.gateway.requests.editing import arrange
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    import openai

pytestmark = pytest.mark.anyio

EDITS, OXEN = "/v1/images/edits", "/api/ai/images/edit"
REQUEST = "invalid_request_error"
FILES = [image_file(size=(24, 16 + index)) for index in range(4)]
TEXTS = [base64.b64encode(file).decode() for file in FILES]
EDITS_ONLY = pb.Model(max_references=3)
BOTH = pb.Model(max_references=2, image_to_image=True)
STARTS_ONLY = pb.Model(image_to_image=True)


def call(count: int, **fields: Any) -> Call:
    """Return a call with some images, whose names are `image[0]` and so on, and a strength."""
    images = tuple(ClientImage(f"image[{index}]", f"file {index}") for index in range(count))
    return Call(pb.GenerateImagesRequest(strength=0.5), images=images, start_keys=("strength",), **fields)


@pytest.mark.parametrize(
    ("count", "fields", "model", "places", "ignored"),
    [
        (1, {}, STARTS_ONLY, ["image"], []),
        (3, {}, STARTS_ONLY, ["image"], ["image[1]", "image[2]"]),
        (2, {}, EDITS_ONLY, ["references[0]", "references[1]"], ["strength"]),
        (4, {}, EDITS_ONLY, [f"references[{index}]" for index in range(3)], ["image[3]", "strength"]),
        (2, {"starts": True}, EDITS_ONLY, ["references[0]", "references[1]"], ["strength"]),
        (3, {}, BOTH, ["references[0]", "references[1]"], ["image[2]", "strength"]),
        (2, {"starts": True}, BOTH, ["image", "references[0]"], []),
        (4, {"uploads": {"mask": "m"}}, BOTH, ["image", "references[0]", "references[1]", "mask"], ["image[3]"]),
        (2, {"uploads": {"mask": "m"}}, STARTS_ONLY, ["image", "mask"], ["image[1]"]),
    ],
)
def test_images_are_placed_as_the_model_takes_them(
    count: int, fields: dict[str, Any], model: pb.Model, places: list[str], ignored: list[str]
) -> None:
    """The images become references, up to the model's limit, or the first one is where the result starts."""
    placed, draft = arrange(call(count, **fields), Draft(pb.GenerateImagesRequest(strength=0.5)), model)
    assert list(placed.uploads) == places
    assert list(placed.unused) == ignored
    assert draft.effective_request().HasField("strength") is ("image" in places)
    names = {place: name for place, name in placed.names.items() if place != "mask"}
    assert list(names.values()) == [f"image[{index}]" for index in range(len(names))]


class TestForms:
    async def test_sdk_sends_several_images(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """OpenAI's SDK sends several images; the model gets them as references, in their order."""
        raw = await sdk.images.with_raw_response.edit(image=FILES, prompt="x", model="editor", size="64x64")
        sent = fake.requests[0]
        assert (list(sent.references), sent.image, sent.mask) == (FILES[:3], b"", b"")
        assert not sent.HasField("strength")
        assert raw.headers["x-tintype-ignored"] == "image[3]"

    async def test_mask_repaints_the_first_image(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """With a mask the first image is repainted, and the others are references."""
        mask = image_file(mode="RGBA", size=(24, 16))
        await sdk.images.edit(image=FILES[:3], mask=mask, prompt="x", model="both")
        sent = fake.requests[0]
        assert (sent.image, sent.mask, list(sent.references)) == (FILES[0], mask, FILES[1:3])
        assert sent.strength == 1

    async def test_transparency_is_no_mask_of_a_reference(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A model that takes references gets a transparent image as one, without a mask and without a strength."""
        clear = image_file(mode="RGBA")
        files: Any = {"image": ("a.png", clear), "prompt": (None, "x"), "model": (None, "editor")}
        answer = await gateway.post(EDITS, files=files)
        assert answer.status_code == 200, answer.text
        assert (list(fake.requests[0].references), fake.requests[0].mask) == ([clear], b"")
        assert "x-tintype-ignored" not in answer.headers

    async def test_sixteen_images_are_read(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Sixteen images are accepted, and one more is an error."""
        for count, status in ((16, 200), (17, 400)):
            parts: list[Any] = [("image[]", ("a.png", LAKE)) for _ in range(count)]
            answer = await gateway.post(EDITS, files=[*parts, ("prompt", (None, "x")), ("model", (None, "editor"))])
            assert answer.status_code == status
        assert len(fake.requests) == 1


class TestJson:
    @pytest.mark.parametrize("path", [EDITS, PATH, "/apipie/v1/images/generations", "/aqueduct/v1/images/edits"])
    async def test_several_images(self, gateway: httpx.AsyncClient, fake: FakeService, path: str) -> None:
        """`image` and `images` are the images to edit, in edits and in generations; those of `image` come first."""
        body = {"prompt": "x", "model": "editor"}
        urls = [{"image_url": f"data:image/png;base64,{text}"} for text in TEXTS]
        for fields in ({"images": urls[:2]}, {"image": TEXTS[:2]}, {"image": TEXTS[0], "images": urls[1:2]}):
            answer = await gateway.post(path, json=body | fields)
            assert answer.status_code == 200, answer.text
            assert list(fake.requests[-1].references) == FILES[:2]
            assert "x-tintype-ignored" not in answer.headers

    async def test_apipies_image_is_edited(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """APIpie's `image` is a reference of a model that edits, and the start of any other."""
        for model, references, image in (("editor", [LAKE], b""), ("both", [LAKE], b""), ("tiny", [], LAKE)):
            body = {"prompt": "x", "model": model, "image": B64}
            assert (await gateway.post("/apipie/v1/images/generations", json=body)).status_code == 200
            assert (list(fake.requests[-1].references), fake.requests[-1].image) == (references, image)

    async def test_strength_starts_from_the_image(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A strength asks to start from the image: a model that can does; another one reports it as ignored."""
        for model, starts in (("both", True), ("editor", False)):
            answer = await gateway.post(PATH, json={"prompt": "x", "model": model, "image": B64, "strength": 0.5})
            assert bool(fake.requests[-1].image) is fake.requests[-1].HasField("strength") is starts
            assert answer.headers.get("x-tintype-ignored") == (None if starts else "strength")

    async def test_oxens_edit(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Oxen's edit takes one image or several."""
        for image, expected in ((TEXTS[0], FILES[:1]), (TEXTS[:3], FILES[:3])):
            answer = await gateway.post(OXEN, json={"prompt": "x", "model": "editor", "image": image})
            assert answer.status_code == 200, answer.text
            assert list(fake.requests[-1].references) == expected

    async def test_streams_edit_too(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A stream with previews needs no size: the service chooses it."""
        body = {"prompt": "x", "model": "editor", "image": B64, "stream": True, "partial_images": 1}
        answer = await gateway.post(EDITS, json=body)
        assert "image_edit.completed" in answer.text
        assert list(fake.requests[0].references) == [LAKE]


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "violation", "param"),
        [
            ({"image": TEXTS[:3]}, "references[2]", "image[2]"),
            ({"images": TEXTS[:2]}, "references[1]", "images[1]"),
            ({"image": TEXTS[0]}, "references[0]", "image"),
            ({"images": TEXTS[:2]}, "references", "images"),
            ({"image": TEXTS[0], "images": TEXTS[1:3]}, "references[2]", "images[1]"),
        ],
    )
    async def test_service_names_the_clients_image(
        self, gateway: httpx.AsyncClient, fake: FakeService, body: dict[str, Any], violation: str, param: str
    ) -> None:
        """An error of the service about a reference names the client's image."""
        faults = [(violation, "must be at least 64 pixels wide and high, not 24x16")]
        fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=faults)
        answer = await gateway.post(EDITS, json={"prompt": "x", "model": "editor"} | body)
        assert f"Invalid '{param}': must be" in check_error(answer, 400, REQUEST, "invalid_value", param)

    async def test_unreadable_image_is_named(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The first unreadable image is named by its number, and no image is made."""
        body = {"prompt": "x", "model": "editor", "images": [TEXTS[0], "aGVsbG8=", "aGVsbG8="]}
        check_error(await gateway.post(EDITS, json=body), 400, REQUEST, "invalid_image_file", "images[1]")
        assert not fake.requests

    async def test_missing_image_is_named(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A generation without an image, by a model that only edits, names the field that has to be sent."""
        faults = [("references", "is required: model 'editor' edits images")]
        fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=faults)
        answer = await gateway.post(PATH, json={"prompt": "x", "model": "editor"})
        assert "is required" in check_error(answer, 400, REQUEST, "invalid_value", "image")
        oxen = await gateway.post("/api/ai/images/generate", json={"prompt": "x", "model": "editor"})
        assert oxen.json()["error"]["detail"].startswith("Invalid 'image': is required")

    async def test_all_images_together_are_limited(self, service: Service, tmp_path: Path) -> None:
        """All images of a request together have a limit; the error names the one that exceeds it."""
        large = b"\x89PNG\r\n\x1a\n" + LAKE[8:] + bytes(33_000_000)
        async with running_gateway(config(service, tmp_path, max_body=80_000_000)) as client:
            parts: list[Any] = [("image[]", ("a.png", large)), ("image[]", ("b.png", large)), ("prompt", (None, "x"))]
            answer = await client.post(EDITS, files=[*parts, ("model", (None, "editor"))])
        expected = "must have at most 64000000 bytes together with the other images"
        assert expected in check_error(answer, 400, REQUEST, "invalid_image_file", "image[1]")

    async def test_unknown_model_is_an_error_as_usual(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """An unknown model gives the service's error, and one of OpenAI's means the default model."""
        refusal = Refusal(grpc.StatusCode.NOT_FOUND, "no nope", "MODEL_NOT_FOUND", {"model": "nope"})
        behave = fake.behave
        fake.behave = lambda request, context: (refusal if request.model == "nope" else behave)(request, context)
        answer = await gateway.post(EDITS, json={"prompt": "x", "model": "nope", "image": TEXTS[:2]})
        check_error(answer, 404, REQUEST, "model_not_found", "model")
        answer = await gateway.post(EDITS, json={"prompt": "x", "model": "gpt-image-9", "image": TEXTS[:2]})
        assert answer.headers["x-tintype-ignored"] == "image[1]"


async def test_models_are_asked_once_in_a_while(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """The model is looked up only for requests with images to edit, and not for each of them."""
    async with running_gateway(config(service, tmp_path)) as client:
        await client.post(PATH, json={"prompt": "x", "model": "both"})
        await client.post(EDITS, json={"prompt": "x", "model": "both", "image": B64, "mask": B64})
        assert fake.lookups == []
        for _ in range(3):
            await client.post(EDITS, json={"prompt": "x", "model": "both", "image": B64})
        assert fake.lookups == ["both"]
        assert len(fake.requests) == 5
