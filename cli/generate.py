"""`tintype generate`: make images from a prompt, with a running service or a model in this process."""

from __future__ import annotations

import os
import re
import secrets
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tintype.service.config import ServiceConfig
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import RANGES

from . import interrupt
from .available import same_name
from .errors import UserError
from .images.files import mime_type, numbered_path, prepare_folder, save
from .images.inputs import check_total, read_controls, read_image, read_image_prompts, read_references
from .service_client import connect
from .settings.sources import Sources, warn_of_unknown_variables
from .settings.values import INTEGER, NUMBER, parse_path
from .terminal import progress_display

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator

    from .service_client import ServiceConnection
    from .settings.values import ValueType

    Number = TypeVar("Number", int, float)

STDOUT = Path("-")
SUFFIX = ".safetensors"
LOCAL = "127.0.0.1:0"  # the address of the service in this process; the system chooses the port
# The contract's bounds. They are checked here as well, so that the message names the flag and no model is loaded.
BOUNDS = {"guidance": RANGES["guidance_scale"], "clip-skip": RANGES["clip_skip"]} | {
    name: RANGES[name] for name in ("count", "steps", "seed", "strength")
}


def run(arguments: Namespace) -> int:
    """Make the images, save them, and print the name of each file."""
    warn_of_unknown_variables()
    sources = Sources.gather(vars(arguments))
    if arguments.model == "":
        raise UserError("--model must not be empty")
    request, output = build_request(arguments), parse_path(arguments.output)
    if output == STDOUT:
        _check_stdout(request.count)
    else:
        prepare_folder(output)
    local = None if _is_remote(arguments) else _local_service(sources, request)
    interrupt.run(_generate(arguments, sources, local, request, output))
    return 0


def build_request(arguments: Namespace) -> pb.GenerateImagesRequest:
    """Return the request that the flags describe. Raises UserError; the service checks the rest."""
    width, height = parse_dimensions(arguments.size)
    try:
        request = pb.GenerateImagesRequest(
            model=arguments.model or "",
            prompt=arguments.prompt,
            negative_prompt=arguments.negative,
            count=_parse_number("count", arguments.count, INTEGER),
            width=width,
            height=height,
            steps=_parse_number("steps", arguments.steps, INTEGER),
            guidance_scale=_parse_number("guidance", arguments.guidance, NUMBER),
            sampler=arguments.sampler,
            schedule=arguments.schedule,
            quality=arguments.quality,
            style=arguments.style,
            seed=_parse_number("seed", arguments.seed, INTEGER),
            image=read_image("image", arguments.image),
            mask=read_image("mask", arguments.mask),
            strength=_parse_number("strength", arguments.strength, NUMBER),
            references=read_references(arguments.reference),
            controls=read_controls(arguments.control),
            image_prompts=read_image_prompts(arguments.image_prompt),
            clip_skip=_parse_number("clip-skip", arguments.clip_skip, INTEGER),
            output=pb.OutputFormat(mime_type=mime_type(Path(arguments.output))),
        )
    except ValueError as error:  # text that protobuf cannot hold, such as a lone surrogate
        raise UserError(str(error)) from error
    check_total(request)
    return request


def parse_dimensions(text: str | None) -> tuple[int | None, int | None]:
    """Return width and height of `512x512`, in pixels. Raises UserError."""
    if text is None:
        return None, None
    match = re.fullmatch(r"([1-9]\d{0,8})[xX]([1-9]\d{0,8})", text)
    if not match:
        raise UserError(f"--size must be WIDTHxHEIGHT in pixels, for example 512x512; got {text!r}")
    return int(match[1]), int(match[2])


def _parse_number(flag: str, text: str | None, type_: ValueType[Number]) -> Number | None:
    """Return the number of a flag, within the contract's bounds. Raises UserError."""
    if text is None:
        return None
    try:
        value = type_.from_text(text)
    except ValueError:
        raise UserError(f"--{flag} must be {type_.expected}; got {text!r}") from None
    least, most = BOUNDS[flag]
    if not least <= value <= most:
        raise UserError(f"--{flag} must be {least} to {most}; got {text}")
    return value


def _check_stdout(count: int) -> None:
    """Raise UserError unless there is one image and stdout is not a terminal."""
    if count > 1:
        raise UserError(f"-o - takes one image, not --count {count}; name a file, for example -o lake.png")
    if sys.stdout.isatty():
        raise UserError("-o - does not write an image to a terminal; redirect stdout, or name a file with -o")


def _is_remote(arguments: Namespace) -> bool:
    return bool(arguments.grpc or os.environ.get("TINTYPE_GRPC"))


def _is_source(model: str) -> bool:
    """Whether --model says where a model is, rather than its name: a path, a file's name, or a hub id."""
    return bool(model) and (os.sep in model or "/" in model or model.endswith(SUFFIX) or parse_path(model).exists())


def _local_service(sources: Sources, request: pb.GenerateImagesRequest) -> ServiceConfig:
    """Return the configuration of the service in this process. Models on the hub are downloaded first.

    Raises UserError.
    """
    if _is_source(request.model):
        sources = replace(sources, flags={**sources.flags, "models": [request.model]})
        request.model = ""  # it is the only model
    key = secrets.token_urlsafe(32)  # so that other users of this machine have no access
    config = sources.config(ServiceConfig, grpc=LOCAL, api_key=key)
    if request.model and not config.models and (known := same_name(request.model)):
        raise UserError(f"there is no folder or file {request.model}; did you mean {known}?")
    return config


async def _generate(
    arguments: Namespace,
    sources: Sources,
    local: ServiceConfig | None,
    request: pb.GenerateImagesRequest,
    output: Path,
) -> None:
    async with _service_connection(sources, local) as (stub, metadata):
        with progress_display(sys.stderr, max(request.count, 1), quiet=arguments.quiet) as progress:
            images = []
            async for event in stub.StreamImages(pb.StreamImagesRequest(generation=request), metadata=metadata):
                progress.show(event)
                if event.HasField("image"):
                    images.append(event.image)
        for image in sorted(images, key=lambda image: image.index):
            _write_image(image, output, request.count, quiet=arguments.quiet)


def _write_image(image: pb.Image, output: Path, count: int, *, quiet: bool) -> None:
    """Save one of `count` images and print its description.

    With `-o -` the image goes to stdout and its description to stderr.
    """
    if output != STDOUT:
        path = numbered_path(output, image.index, count)
        save(image.data, path)
        print(describe(image, path))
        return
    sys.stdout.buffer.write(image.data)
    sys.stdout.buffer.flush()
    if not quiet:
        sys.stderr.write(f"{describe(image, output)}\n")


@asynccontextmanager
async def _service_connection(sources: Sources, local: ServiceConfig | None) -> AsyncIterator[ServiceConnection]:
    """Connect to a remote service, or to one that runs in this process while inside the block."""
    if local is None:
        async with connect(sources) as service:
            yield service
        return
    running = import_module("tintype.service.server").running
    async with (
        running(local) as address,
        connect(Sources(flags={"grpc": address, "service_key": local.api_key})) as service,
    ):
        yield service


def describe(image: pb.Image, path: Path) -> str:
    """Return one line about a saved image."""
    seconds = image.timings.total.ToTimedelta().total_seconds()
    line = f"{path}: {image.width}x{image.height}, seed {image.seed}, {seconds:.1f} s"
    return line + (f", prompt used: {image.revised_prompt}" if image.revised_prompt else "")
