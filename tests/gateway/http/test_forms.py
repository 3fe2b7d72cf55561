"""Forms with files: valid and invalid ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.fakes import FakeService, Service, config, running_gateway
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import B64, LAKE, file, image_file
from tintype.gateway.dialects.openai_edits import parse_edit, parse_variation
from tintype.gateway.errors import BadRequest
from tintype.gateway.http.forms import group_fields
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio

EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"
JPEG = image_file("JPEG")
MASK = image_file(mode="RGBA")
INVALID_REQUEST = "invalid_request_error"


class TestForms:
    @pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
    @pytest.mark.parametrize("path", [EDITS, "/images/edits", "/aqueduct/v1/images/edits", "/apipie/v1/images/edits"])
    async def test_every_field_name_of_an_image_is_accepted(
        self, gateway: httpx.AsyncClient, fake: FakeService, name: str, path: str
    ) -> None:
        """An image arrives under every field name that clients use, on every path; its file name has no effect."""
        answer = await gateway.post(path, data={"prompt": "x"}, files=[(name, file())])
        assert answer.status_code == 200, answer.text
        assert "b64_json" in answer.json()["data"][0]
        assert fake.requests[0].image == LAKE

    async def test_a_repeated_name_is_a_list(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A repeated name is a list."""
        answer = await gateway.post(EDITS, data={"prompt": "x"}, files=[("image", file()), ("image", file(JPEG))])
        assert answer.headers["x-tintype-ignored"] == "image[1]"
        assert fake.requests[0].image == LAKE

    @pytest.mark.parametrize("name", ["mask", "mask[]", "mask[0]"])
    @pytest.mark.parametrize("path", [EDITS, VARIATIONS, "/images/variations", "/apipie/v1/images/variations"])
    async def test_a_mask_is_a_single_file(
        self, gateway: httpx.AsyncClient, fake: FakeService, name: str, path: str
    ) -> None:
        """A mask is a single file, with or without brackets, for edits and variations, in forms and JSON."""
        answer = await gateway.post(path, data={"prompt": "x"}, files=[("image", file()), (name, file(MASK))])
        assert answer.status_code == 200, answer.text
        assert (fake.requests[0].image, fake.requests[0].mask) == (LAKE, MASK)

    @pytest.mark.parametrize("path", [EDITS, VARIATIONS])
    async def test_several_masks_are_refused(self, gateway: httpx.AsyncClient, path: str) -> None:
        """Several masks are refused, because their order has no meaning."""
        masks = [("mask[]", file(MASK)), ("mask[]", file(MASK))]
        answer = await gateway.post(path, data={"prompt": "x"}, files=[("image", file()), *masks])
        assert "one image, not 2" in check_error(answer, 400, INVALID_REQUEST, "invalid_value", "mask")

    @pytest.mark.parametrize("path", [EDITS, VARIATIONS])
    @pytest.mark.parametrize("name", ["n", "size", "quality", "stream", "loras", "user", "n[]"])
    async def test_files_in_text_fields_are_refused(self, gateway: httpx.AsyncClient, path: str, name: str) -> None:
        """The error for a file in a text field names its length, not its bytes."""
        parts = [("image", file()), *[(name, file(b"\0secret" * 9))] * (2 if name == "n[]" else 1)]
        answer = await gateway.post(path, data={"prompt": "x"}, files=parts)
        message = check_error(answer, 400, INVALID_REQUEST, "invalid_value", name.removesuffix("[]"))
        assert message.endswith("not a list of 2 files." if name == "n[]" else "not a file of 63 bytes.")

    @pytest.mark.parametrize("path", [EDITS, VARIATIONS])
    async def test_numbers_in_several_spellings(self, gateway: httpx.AsyncClient, fake: FakeService, path: str) -> None:
        """Numbers and booleans are text, in the spellings of several languages; a random seed is `-1`."""
        fields = {"prompt": "x", "n": "2.0", "steps": "3", "seed": "-1", "stream": "False", "strength": "0.5"}
        answer = await gateway.post(path, data=fields | {"size": "", "response_format": ""}, files=[("image", file())])
        assert answer.status_code == 200, answer.text
        sent = fake.requests[0]
        assert (sent.count, sent.steps, sent.strength) == (2, 3, 0.5)
        assert 0 <= sent.seed < 2**32

    async def test_text_images_and_empty_fields(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Numbers and booleans are text, images may be, and empty fields are absent."""
        fields = {"prompt": "x", "n": "2", "seed": "7", "strength": "0.25", "guidance_scale": "5", "stream": "false"}
        rest = {"image": B64, "mask": "", "user": "", "quality": "", "background": "auto", "odd": "1"}
        answer = await gateway.post(EDITS, data=fields | rest, files=[("mask", ("", b""))])
        assert answer.status_code == 200, answer.text
        sent = fake.requests[0]
        assert (sent.image, sent.mask, sent.count, sent.seed) == (LAKE, b"", 2, 7)
        assert (sent.strength, sent.guidance_scale) == (0.25, 5)
        assert answer.headers["x-tintype-ignored"] == "odd"

    @pytest.mark.parametrize(
        ("fields", "files", "code", "param", "expected"),
        [
            ({}, [("image", file())], None, "prompt", "empty string"),
            ({"prompt": "x"}, [("odd", file())], "invalid_value", "image", "is missing, and must be a PNG"),
            ({"prompt": "x"}, [("image", file(b""))], "invalid_value", "image", "is empty, and must be a PNG"),
            (
                {"prompt": "x"},
                [("image[]", file()), ("image[]", file(b"")), ("image[]", file())],
                "invalid_value",
                "image[1]",
                "is empty, and must be a PNG",
            ),
            ({"prompt": "x"}, [("image", file()), ("mask", file(b""))], "invalid_value", "mask", "is empty"),
            ({"prompt": "x"}, [("image", file())] * 17, "invalid_value", "image", "1 to 16 images, not 17"),
            ({"prompt": "x"}, [("image", file(b"GIF89a"))], "invalid_image_file", "image", "PNG, JPEG or WebP"),
            ({"prompt": "x"}, [("image", file()), ("mask", file(b"no"))], "invalid_image_file", "mask", "PNG"),
            ({"prompt": "x", "n": "many"}, [("image", file())], "invalid_value", "n", "from 1 to 10, not 'many'"),
            ({"prompt": "x", "n": "11"}, [("image", file())], "invalid_value", "n", "not '11'"),
            ({"prompt": "x", "stream": "maybe"}, [("image", file())], "invalid_value", "stream", "true or false"),
            (
                {"prompt": "x", "input_fidelity": "odd"},
                [("image", file())],
                "invalid_value",
                "input_fidelity",
                "'high'",
            ),
        ],
        ids=range(12),
    )
    async def test_errors_name_the_field(
        self,
        gateway: httpx.AsyncClient,
        fake: FakeService,
        fields: dict[str, str],
        files: list[Any],
        code: str | None,
        param: str,
        expected: str,
    ) -> None:
        """Errors name the field, and no request reaches the service."""
        answer = await gateway.post(EDITS, data=fields, files=files)
        assert expected in check_error(answer, 400, INVALID_REQUEST, code, param)
        assert fake.requests == []

    @pytest.mark.parametrize(
        ("kind", "body", "status"),
        [
            ("multipart/form-data", b"x", 400),
            ("multipart/form-data; boundary=b", b"no form", 400),
            ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400),
            (
                "multipart/form-data; boundary=b",
                b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\xfe\r\n--b--\r\n',
                400,
            ),
            ("multipart/form-data; boundary=b", b"x" * 100_001, 413),
            ("application/x-www-form-urlencoded", b"prompt=x", 415),
            ("application/json", b"[]", 400),
        ],
        ids=["no boundary", "no form", "no name", "no text", "long", "urlencoded", "list"],
    )
    async def test_invalid_forms_give_400(
        self, gateway: httpx.AsyncClient, kind: str, body: bytes, status: int
    ) -> None:
        """An invalid form gives 400, never 500."""
        answer = await gateway.post(EDITS, content=body, headers={"content-type": kind})
        check_error(answer, status, INVALID_REQUEST, None, None)

    async def test_too_many_parts_are_refused(self, gateway: httpx.AsyncClient) -> None:
        """The error for too many parts names the limit."""
        answer = await gateway.post(EDITS, data={f"x{i}": "" for i in range(1001)}, files=[("image", file())])
        assert "at most 1000 parts" in check_error(answer, 400, INVALID_REQUEST, None, None)

    async def test_a_wrong_content_type_is_named(self, gateway: httpx.AsyncClient) -> None:
        """The error for another content type names both supported ones."""
        answer = await gateway.post(EDITS, data={"prompt": "x"})
        message = check_error(answer, 415, INVALID_REQUEST, None, None)
        assert "'application/json' or 'multipart/form-data', not 'application/x-www-form-urlencoded'" in message

    async def test_generations_accept_no_forms(self, gateway: httpx.AsyncClient) -> None:
        """Paths without a start image accept JSON only."""
        answer = await gateway.post("/v1/images/generations", data={"prompt": "x"}, files=[("image", file())])
        check_error(answer, 415, INVALID_REQUEST, None, None)

    async def test_a_repeated_form_is_the_same_request(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A repeated form is the same request, although its boundary differs."""
        headers = {"idempotency-key": "edit"}
        first, again = [
            await gateway.post(EDITS, data={"prompt": "x"}, files=[("image", file())], headers=headers) for _ in "12"
        ]
        assert (first.status_code, again.headers["idempotent-replayed"]) == (200, "true")
        assert len(fake.requests) == 1
        other = await gateway.post(EDITS, data={"prompt": "y"}, files=[("image", file())], headers=headers)
        assert other.status_code == 422

    async def test_large_files_arrive_complete(self, service: Service, tmp_path: Path) -> None:
        """A file of several megabytes arrives complete."""
        large = LAKE + bytes(5_000_000)
        async with running_gateway(config(service, tmp_path)) as client:
            answer = await client.post(EDITS, data={"prompt": "x"}, files=[("image", file(large))])
            assert answer.status_code == 200, answer.text
            assert service.fake.requests[0].image == large
            answer = await client.post(EDITS, data={"prompt": "x"}, files=[("image", file(LAKE + bytes(50_000_000)))])
            half = file(LAKE + bytes(32_000_000))
            both = await client.post(EDITS, data={"prompt": "x"}, files=[("image", half), ("mask", half)])
        assert "at most 50000000 bytes" in check_error(answer, 400, INVALID_REQUEST, "invalid_image_file", "image")
        assert "at most 64000000 bytes" in check_error(both, 400, INVALID_REQUEST, "invalid_image_file", "mask")


def test_group_fields() -> None:
    """Lists have several spellings; similar text inside a name is kept."""
    parts: list[tuple[str, str | bytes]] = [
        ("a", "1"),
        ("b[]", "2"),
        ("c[0]", "3"),
        ("c[1]", b"4"),
        ("d", "5"),
        ("d", "6"),
        ("d", "7"),
        ("e", ""),
        ("f[x]", "8"),
    ]
    assert group_fields(parts) == {"a": "1", "b": ["2"], "c": ["3", b"4"], "d": ["5", "6", "7"], "f[x]": "8"}


@pytest.mark.parametrize(
    "names",
    [
        ("loras[][name]", "loras[][name]", "loras[][weight]", "loras[][weight]"),  # the openai SDK's order
        ("loras[0][name]", "loras[1][name]", "loras[0][weight]", "loras[1][weight]"),
        ("loras[4][name]", "loras[7][name]", "loras[4][weight]", "loras[7][weight]"),
    ],
)
def test_a_list_of_objects_in_fields(names: tuple[str, ...]) -> None:
    """A list of objects arrives field by field, and each object gets its own fields."""
    body = group_fields([("prompt", "x"), ("image", b"i"), *zip(names, ("ink", "pen", "0.5", "1"), strict=True)])
    assert list(parse_edit(body).request.loras) == [pb.Lora(name="ink", weight=0.5), pb.Lora(name="pen", weight=1.0)]


def test_a_list_of_names_in_fields_or_json() -> None:
    """A list of names arrives as fields of one name, or as JSON text."""
    body = group_fields([("prompt", "x"), ("image", b"i"), ("embeddings[]", "<cat>"), ("embeddings[]", "ink")])
    assert list(parse_edit(body).request.embeddings) == ["<cat>", "ink"]
    form = {"prompt": "x", "image": b"i", "embeddings": '["<cat>"]', "loras": '[{"name": "ink"}]'}
    assert list(parse_edit(form).request.embeddings) == ["<cat>"]
    assert parse_edit(form).request.loras[0].name == "ink"


def test_a_list_of_objects_in_json() -> None:
    """A list of objects may be JSON text, as typed for curl; for other text the error says what is right."""
    form = {"prompt": "x", "image": b"i"}
    assert parse_edit({**form, "loras": '[{"name": "ink"}]'}).request.loras[0].name == "ink"
    assert parse_variation({**form, "loras": '[{"name": "ink", "weight": 2}]'}).request.loras[0].weight == 2
    for text in ("ink", "[", "7", "[" * 100_000):
        with pytest.raises(BadRequest, match=r"list of at most 8 \{name") as caught:
            parse_edit({**form, "loras": text})
        assert caught.value.param == "loras"


def test_ambiguous_objects_are_refused() -> None:
    """A single weight for several names is ambiguous; the message says how to number them."""
    with pytest.raises(BadRequest, match=r"'loras\[0\]\[name\]'") as caught:
        group_fields([("loras[][name]", "ink"), ("loras[][name]", "pen"), ("loras[][weight]", "1")])
    assert caught.value.param == "loras"
    assert group_fields([("loras[0][name]", "ink"), ("loras[1][name]", "pen"), ("loras[1][weight]", "1")]) == {
        "loras": [{"name": "ink"}, {"name": "pen", "weight": "1"}]
    }
