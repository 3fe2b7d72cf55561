"""Every parser of the gateway, with the worst texts of a client: twice the text takes twice the work.

Parsing on the event loop delays every other request, and parsing in a thread still holds the interpreter's lock while a
regular expression runs.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from litestar._multipart import parse_content_header, parse_multipart_form
from litestar.exceptions import HTTPException

from tests.support.complexity import LONG, NOISE, check_linear, cpu
from tintype.cli.errors import UserError
from tintype.cli.generation.request import parse_dimensions
from tintype.cli.images.inputs import parse_image_spec
from tintype.cli.settings.values import parse_address, parse_size
from tintype.gateway import access_record
from tintype.gateway.access import rejections
from tintype.gateway.access.model_names import ModelNames
from tintype.gateway.dialects import DIALECTS
from tintype.gateway.dialects.apipie import error as apipie_error
from tintype.gateway.dialects.openai_edits import parse_edit, parse_variation
from tintype.gateway.dialects.oxen import parse_edit as parse_oxen_edit
from tintype.gateway.errors import GatewayError, InvalidValue
from tintype.gateway.http import response_headers, trusted_proxies
from tintype.gateway.http.forms import group_fields
from tintype.gateway.http.json_request import decode_json
from tintype.gateway.jobs.prefer import parse_prefer
from tintype.gateway.requests.generation import ignored_header
from tintype.gateway.results.store import Links, is_result_name
from tintype.gateway.sdapi.controlnet.units import parse_units
from tintype.gateway.sdapi.from_webui import build_request
from tintype.gateway.sdapi.infotext import parse_infotext, read_png_info
from tintype.gateway.sdapi.request_types import ImageToImage, TextToImage, convert
from tintype.gateway.sdapi.samplers import choose_sampler
from tintype.gateway.sdapi.state import Checkpoints
from tintype.gateway.uploads.fetch import FetchError, parse_url
from tintype.gateway.uploads.reading import decode_base64, decode_data_url
from tintype.service.errors import InvalidRequest
from tintype.service.metrics.endpoint import _parse as parse_metrics_request
from tintype.service.numerics.choices import UnknownName, canonical_name
from tintype.service.rpc.from_proto import job_from_pb
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.image_texts import read_texts
from tintype.v1.keys import request_key
from tintype.v1.tracing import TraceContext

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[str], object]

pytestmark = pytest.mark.slow

MODEL = pb.Model(
    name="tiny",
    samplers=["ddim", "dpmpp_2m", "euler"],
    schedules=["karras", "exponential"],
    loras=["ink"],
    controls=["canny"],
    embeddings=["a", "<a:", "ab a"],
    defaults=pb.ModelDefaults(width=64, height=64, steps=20, sampler="ddim"),
)
REFUSALS = (GatewayError, FetchError, HTTPException, InvalidRequest, UserError, ValueError)
BEGINNINGS = {"settings": "a lake\nSteps: ", "data": "data:image/png;base64,", "url": "http://", "version": "chatgpt-"}
# What is repeated. Each of these has been the worst for some reader, here or elsewhere.
REPEATED = [
    "a",
    " ",
    "\t",
    "\n",
    ",",
    ":",
    ";",
    "/",
    "=",
    "1",
    "x",
    ".",
    "-",
    "é",
    "\u0660",
    "\u200d",
    '"',
    "\\",
    '\\"',
    'a:"\\",',
    'a:"b"c,',
    'a:"b,',
    "a:b,",
    "a,:",
    " :",
    ": ",
    " ,",
    "a: b, ",
    "<",
    "<a",
    "<a:",
    "<a:b",
    "<a:b:",
    "<a:b:c>",
    "<lora:ink:1>",
    "<lora:ink:1:",
    "<:>",
    "(a",
    "[a",
    "[",
    "]",
    "[]",
    "[0]",
    "[0][a]",
    "[a]",
    " [",
    " [abcd",
    "[abcd]",
    "a.safetensors",
    ".ckpt [abcd]",
    "../",
    "//",
    "%25",
    "a.",
    "xn--a.",
    "@",
    "&a=1",
    ";a=b",
    ';a="',
    '\\" ',
    "1:1",
    "1x1",
    "1.0",
    "1_",
    "k",
    "++",
    "a_",
    "Invalid 'a",
    "Invalid 'a': must ",
    "- at `$.",
    "--b",
    "\r\n--b",
    "\r\n",
    "{",
    '{"a":',
    "[[],",
    "0,",
    "\\ud83d\\ude00",
]


def png(*chunks: tuple[bytes, bytes]) -> str:
    """Return a PNG file of these chunks, as text in Latin-1."""
    parts = [struct.pack(">I", len(data)) + kind + data + b"\0\0\0\0" for kind, data in chunks]
    return (b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode("latin-1")


def read_file_texts(text: str) -> object:
    return read_texts(text.encode("latin-1", "replace"))


def parse_form(text: str) -> object:
    """Parse a form with this text as a value, as a name and as a part's header."""

    async def body() -> Any:
        head = 'Content-Disposition: form-data; name="{}"\r\n{}\r\n\r\n{}\r\n'
        parts = [("a", "X-A: b", text), (text.replace("\r", "")[:4000], "X-A: b", ""), ("a", f"X: {text}", "")]
        yield b"".join(f"--b\r\n{head.format(*part)}".encode("utf-8", "replace") for part in parts) + b"--b--\r\n"

    return asyncio.run(parse_multipart_form(body(), b"b"))


def find_checkpoint(name: str) -> object:
    return Checkpoints(ModelNames({"a": "*"})).find(name, [MODEL])


def parse_webui_request(text: str) -> object:
    """Read requests of the web UI's API with this text in their fields."""
    build_request(TextToImage(prompt=text, negative_prompt=text, override_settings={"samples_format": text}), MODEL, 7)
    for name in ("model", "module", "resize_mode", "control_mode", "union_control_type", "weight"):
        with suppress(GatewayError):
            parse_units({"controlnet": {"args": [{"model": "canny", "image": "aGk=", name: text}]}}, MODEL)
    convert(ImageToImage, {"prompt": text, "seed": text, "steps": text, "sampler_name": text, "init_images": [text]})
    return None


def dialect_parser(name: str) -> Read:
    """Return a parser of a dialect's body, in which each field in turn is this text."""

    def parse_fields(text: str) -> None:
        kind = DIALECTS[name].request_type
        for field in ("prompt", *(field for field in kind.__struct_fields__ if field != "prompt")):
            with suppress(GatewayError):
                DIALECTS[name].parse({"prompt": "x", field: text})

    return parse_fields


def fields_parser(reader: Callable[[dict[str, Any]], object]) -> Read:
    """Return a parser that puts the text into several fields in turn."""

    def read_fields(text: str) -> None:
        for key in ("loras", "n", "mask", "controls", "image_prompts", "images"):
            with suppress(GatewayError):
                reader({"prompt": "x", "image": "aGk=", key: text})

    return read_fields


def forwarded_host(text: str) -> object:
    headers = [(b"x-forwarded-host", text.encode("latin-1", "replace"))]
    return trusted_proxies._ForwardedHost(None, [])._host({"headers": headers, "client": ("::1", 1)})


def log_line(text: str) -> object:
    response_headers._SLASHES.sub("/", text)
    response_headers._SIGNED_PATH.sub("/files/-/", text)
    return access_record.pairs({"path": text})


def parse_grpc_request(text: str) -> object:
    """Read a gRPC request with this text in each text field in turn."""
    for key in ("prompt", "negative_prompt", "model", "sampler", "schedule", "quality", "style", "caller"):
        with suppress(InvalidRequest):
            fields: dict[str, Any] = {"prompt": "x", key: text}
            job_from_pb(pb.GenerateImagesRequest(**fields))
    return UnknownName("sampler", text, ["euler", "ddim"]), canonical_name(text)


def render_apipie_error(text: str) -> object:
    return apipie_error(InvalidValue(text, text)).body


READERS: dict[str, Read] = {
    "infotext": parse_infotext,
    "file": read_file_texts,
    "sdapi": parse_webui_request,
    "checkpoint": find_checkpoint,
    "sampler": lambda text: choose_sampler(MODEL, text, text),
    "name": ModelNames({"a": "*"}).limited_to(("tiny",)).resolve,
    **{name: dialect_parser(name) for name in DIALECTS},
    "edit": fields_parser(parse_edit),
    "variation": fields_parser(parse_variation),
    "oxen edit": fields_parser(parse_oxen_edit),
    "json": lambda text: decode_json(text.encode("utf-8", "replace")),
    "json text": lambda text: decode_json(f'{{"a": "{text}"}}'.encode("utf-8", "replace")),
    "form": parse_form,
    "form names": lambda text: group_fields([(text, "1"), (f"a{text}", "1"), (f"a[0]{text}", "1")]),
    "content type": parse_content_header,
    "data url": lambda text: decode_data_url(f"data:{text}", "image"),
    "base64": lambda text: decode_base64(text, "image"),
    "url": parse_url,
    "authority": lambda text: parse_url(f"http://{text}/"),
    "link": lambda text: (is_result_name(text), Links(bytes(32), "x").file(text, f"{text}-{text}")),
    "credentials": lambda text: request_key({"authorization": f"Basic {text}", "api-key": text}),
    "host": forwarded_host,
    "prefer": lambda text: parse_prefer([text, text]),
    "trace": lambda text: TraceContext.from_headers({"traceparent": text, "tracestate": text}),
    "metrics": lambda text: parse_metrics_request(f"GET {text} HTTP/1.1\r\n{text}: {text}\r\n{text}".encode()),
    "log": log_line,
    "ignored": lambda text: ignored_header([text] * 40),
    "wrong key": lambda text: rejections.ModelNotAllowed(text, ["a"]),
    "message": render_apipie_error,
    "service": parse_grpc_request,
    "size in bytes": parse_size,
    "address": parse_address,
    "size": parse_dimensions,
    "control": lambda text: parse_image_spec("control", f"a={text}", has_range=True),
}


SHORTER = {"sdapi": 40_000}  # characters; its linear work takes longer than NOISE for LONG ones


def ignore_errors(reader: Read) -> Read:
    """Return a parser that ignores the errors of another one."""

    def read_and_ignore(text: str) -> None:
        with suppress(*REFUSALS):
            reader(text)

    return read_and_ignore


def check(reader: Read, text: Callable[[int], str], size: int = LONG) -> None:
    """Fail if a parser's work grows faster than the text; work below a minimum for `size` is not measured."""
    if cpu(lambda: reader(text(size))) > NOISE:
        check_linear(reader, text, size)


def repeat(part: str) -> Callable[[int], str]:
    return lambda size: part * (size // len(part))


@pytest.mark.parametrize("name", READERS)
def test_parser_takes_linear_time(name: str) -> None:
    """No text makes a parser slow, whatever it repeats and begins with."""
    reader, size = ignore_errors(READERS[name]), SHORTER.get(name, LONG)
    for part in REPEATED:
        check(reader, repeat(part), size)
    for beginning in BEGINNINGS.values():
        for part in ("a", " ", '\\"', ":", ",", 'a:"\\",'):
            text = lambda size, part=part, start=beginning: start + repeat(part)(size)  # noqa: E731
            check(reader, text, size)


@pytest.mark.parametrize("part", REPEATED)
def test_line_of_settings_is_read_once(part: str) -> None:
    """A line of settings of the maximum length is read in one pass, after a name and after an open quotation mark."""
    for start in ("Steps: ", "Steps: a", "Steps: a:", 'Steps: a:"', "Steps: 1, a: "):
        check(parse_infotext, lambda size, start=start: start + repeat(part)(size), size=60_000)  # type: ignore[misc]


def exif_entries(size: int) -> bytes:
    """EXIF with as many entries as fit, each as long as the whole, is read in linear time."""
    count = min(size // 12, 65_535)
    row = struct.pack("<HHII", 0x1000, 7, size, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + row * count


FILES: dict[str, Callable[[int], str]] = {
    "empty chunks": lambda size: png(*[(b"abCD", b"")] * (size // 12)),
    "empty texts": lambda size: png(*[(b"tEXt", b"")] * (size // 12)),
    "texts": lambda size: png(*[(b"tEXt", b"a\0b")] * (size // 15)),
    "one text": lambda size: png((b"tEXt", b"parameters\0" + b"Steps: a" * (size // 8))),
    "international texts": lambda size: png((b"iTXt", b"a\0\0\0" + b"\0" * size)),
    "expanding texts": lambda size: png(*[(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**22)))] * (size // 4200)),
    "EXIF": lambda size: png((b"eXIf", exif_entries(size))),
    "profile": lambda size: png((b"tEXt", b"Raw profile type exif\0\n\n\n" + b"00" * (size // 2))),
    "segments": lambda size: (b"\xff\xd8" + b"\xff\xfe\0\2" * (size // 4)).decode("latin-1"),
    "fill bytes": lambda size: (b"\xff\xd8" + b"\xff" * size).decode("latin-1"),
    "RIFF": lambda size: (b"RIFF    WEBP" + b"abcd\0\0\0\0" * (size // 8)).decode("latin-1"),
}


@pytest.mark.parametrize("name", FILES)
def test_file_texts_take_linear_time(name: str) -> None:
    """Reading the texts of a file takes time linear in its length, whatever its structure."""
    check(lambda text: read_png_info(text.encode("latin-1")), FILES[name])


@pytest.mark.parametrize("name", ["a", "a[]", "a[0]"])
def test_repeated_names_are_grouped_once(name: str) -> None:
    """A form with one repeated name is grouped in one pass."""
    check(lambda text: group_fields([(name, one) for one in text]), repeat("a"))


def test_expanded_text_is_bounded() -> None:
    """A kilobyte that expands to a gigabyte is expanded up to the limit only."""
    packed = zlib.compressobj(9)
    bomb = b"".join(packed.compress(bytes(2**20)) for _ in range(64)) + packed.flush()
    found = read_texts(
        png((b"zTXt", b"a\0\0" + bomb), (b"zTXt", b"b\0\0" + bomb), (b"tEXt", b"c\0d")).encode("latin-1")
    )
    assert sum(map(len, found.values())) <= 2**20
    assert len(found["a"]) == 2**20


def test_texts_exceed_every_field_limit() -> None:
    """The texts are longer than any field may be."""
    assert LONG > 32_000
