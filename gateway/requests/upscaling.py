"""The route `POST /v1/images/upscales`: enlarge an image with the service's own upscaler.

No vendor documents this action. Its fields have the names of OpenAI's edits, and its response is that of OpenAI's
images.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from litestar import Response, post
from msgspec import Meta

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import UPSCALE_FACTORS

from ..access.admission import admit
from ..context import AnyRequest  # noqa: TC001 - Litestar reads it
from ..dialects.fields import EXAMPLE_URL, IMAGE_FILE, IMAGE_SCHEMA, ResponseFormat
from ..dialects.image_inputs import parse_image
from ..dialects.openai_types import ImagesResponse, OpenAiImage
from ..dialects.reading import convert, unknown_keys
from ..errors import InvalidValue, ServiceError, StoreUnavailable, UnknownParameter
from ..http.body_limits import drop_body
from ..http.disconnect import cancel_on_disconnect
from ..http.forms import is_form, read_form
from ..http.json_request import read_json
from ..http.response_body import file_body
from ..openapi.operation import FORM, JSON, Media, Operation, ResponseDoc, handler_options
from ..openapi.schemas import form_schema
from .generation import base_url, ignored_header
from .reply import json_response

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ..context import CallerContext, Gateway
    from ..http.response_body import JsonBody

PATHS = ("/v1/images/upscales", "/images/upscales")
NAMES = {"output.mime_type": "output_format", "output.quality": "output_compression"}
_FACTORS = " or ".join(map(str, UPSCALE_FACTORS))
_ERRORS = (400, 401, 408, 413, 415, 429, 500, 501, 503, 504, 507)


class ImageUpscale(msgspec.Struct, kw_only=True):
    """The image to enlarge, and how. A field that is null counts as absent; in forms all fields are text."""

    schema_extra: ClassVar = {"required": ["image"]}

    image: Annotated[
        Any,
        Meta(
            description=f"Image to enlarge: {IMAGE_FILE}. Its alpha channel is kept, and the text about how it "
            "was made",
            examples=[EXAMPLE_URL],
            extra_json_schema=IMAGE_SCHEMA,
        ),
    ] = None
    factor: Annotated[
        int | None,
        Meta(
            description=f"Factor of width and height, {_FACTORS}. The result has at most 16777216 pixels, and 8192 on "
            "a side",
            extra_json_schema={"enum": [*UPSCALE_FACTORS, None], "default": UPSCALE_FACTORS[0]},
        ),
    ] = None
    response_format: ResponseFormat = None
    output_format: Annotated[
        Literal["png", "jpeg", "webp"] | None,
        Meta(description="File type of the result", extra_json_schema={"default": "png"}),
    ] = None
    output_compression: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None,
        Meta(description="Quality of JPEG and WebP files, from 0 to 100", extra_json_schema={"default": 95}),
    ] = None


UPSCALE = Operation(
    summary="Enlarge an image",
    text="The service enlarges one image at a time, on the CPU. It counts as one image of the key's rate.",
    request={
        JSON: Media(ImageUpscale, {"image": EXAMPLE_URL, "factor": 2, "response_format": "b64_json"}),
        FORM: Media(form_schema(ImageUpscale, ("image",))),
    },
    responses={200: ResponseDoc("The image", {JSON: Media(ImagesResponse)}, ("x-tintype-ignored",))},
    errors=_ERRORS,
)


def routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return the route that enlarges images."""

    @post(list(PATHS), name="upscales", status_code=200, opt=handler_options(UPSCALE, PATHS))
    async def upscale(request: AnyRequest) -> Response[Any]:
        context = admit(gateway, request)
        body = await (read_form(request) if is_form(request) else read_json(request, forms=True))
        ignored = unknown_keys(ImageUpscale, body)
        if ignored and gateway.config.strict_parameters:
            raise UnknownParameter(ignored[0])
        fields = convert(ImageUpscale, body, strict=not is_form(request))
        base = base_url(gateway, request)
        message = await cancel_on_disconnect(request.receive, _message(gateway, fields, base))
        del body, fields.image
        drop_body(request)
        work = _answer(context, fields, message, base, str(request.state.request_id))
        return json_response(await cancel_on_disconnect(request.receive, work), ignored_header(ignored))

    return [upscale]


async def _message(gateway: Gateway, fields: ImageUpscale, base: str) -> pb.UpscaleImageRequest:
    """Return the message of a request, with its image. Raises InvalidValue, InvalidImage."""
    if fields.factor not in (None, *UPSCALE_FACTORS):
        raise InvalidValue("factor", f"must be {_FACTORS}, not {fields.factor}")
    image = await gateway.images.read(parse_image(fields.image, "image"), "image", base)
    output = pb.OutputFormat(mime_type=f"image/{fields.output_format or 'png'}", quality=fields.output_compression)
    return pb.UpscaleImageRequest(image=image, factor=fields.factor or 0, output=output)


async def _answer(
    context: CallerContext, fields: ImageUpscale, message: pb.UpscaleImageRequest, base: str, request_id: str
) -> JsonBody:
    """Return the body of the response. Raises GatewayError."""
    gateway = context.gateway
    links = (fields.response_format or gateway.config.response_format) == "url"
    if links and gateway.store.problem():  # before the work
        raise StoreUnavailable
    try:
        result = await context.client.upscale(message, request_id)
    except ServiceError as error:
        raise error.with_client_names(NAMES) from error
    body = ImagesResponse(created=int(time.time()), data=[])
    body.output_format = result.mime_type.removeprefix("image/")
    if links:
        (file,) = await gateway.store.put([(result.data, result.mime_type)])
        body.data = [OpenAiImage(url=gateway.store.url(file, base))]
        return file_body(lambda _: body, b"")
    return file_body(lambda mark: msgspec.structs.replace(body, data=[OpenAiImage(b64_json=mark)]), result.data)
