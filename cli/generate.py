"""`tintype generate`: pictures from a prompt, by a running service or by a model in this process."""

from __future__ import annotations

import os
import re
import secrets
import sys
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tintype.v1 import image_service_pb2 as pb

from . import interrupt
from .errors import UserError
from .image_files import mime_type, numbered, prepare, save
from .progress import view
from .servers.serve import warn
from .service_client import connect
from .settings.sources import Sources
from .settings.values import KINDS, parse_path

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator

    from .service_client import Service

STDOUT = Path("-")
HERE = "127.0.0.1:0"  # where the model in this process listens: a port that the system chooses
# What the contract takes of the numbers; told here it has the flag's name, and no model is loaded in vain.
BOUNDS = {"count": (1, 10), "steps": (1, 150), "guidance": (0, 50), "seed": (0, 2**63 - 1), "strength": (0, 1)}


def run(arguments: Namespace) -> int:
    """Make the pictures, save and name them."""
    warn()
    sources = Sources.gather(vars(arguments))
    request, output = request_of(arguments), parse_path(arguments.output)
    if output == STDOUT:
        _check_stdout(request.count)
    else:
        prepare(output)
    if not _is_remote(arguments) and _is_folder(arguments.model):
        request.model = ""  # it is the only one there
    interrupt.run(_generate(arguments, sources, request, output))
    return 0


def request_of(arguments: Namespace) -> pb.GenerateImagesRequest:
    """What the flags ask for. Raises UserError; what only the service can judge, it will."""
    width, height = _size(arguments.size)
    try:
        return pb.GenerateImagesRequest(
            model=arguments.model or "",
            prompt=arguments.prompt,
            negative_prompt=arguments.negative,
            count=_number("count", arguments.count, "int"),
            width=width,
            height=height,
            steps=_number("steps", arguments.steps, "int"),
            guidance_scale=_number("guidance", arguments.guidance, "float"),
            sampler=arguments.sampler,
            schedule=arguments.schedule,
            quality=arguments.quality,
            style=arguments.style,
            seed=_number("seed", arguments.seed, "int"),
            image=_file("image", arguments.image),
            mask=_file("mask", arguments.mask),
            strength=_number("strength", arguments.strength, "float"),
            output=pb.OutputFormat(mime_type=mime_type(Path(arguments.output))),
        )
    except ValueError as error:  # what protobuf can't hold, such as half a character
        raise UserError(str(error)) from error


def _check_stdout(count: int) -> None:
    """Raise UserError unless standard output takes one image and is no terminal."""
    if count > 1:
        raise UserError(f"-o - takes one image, not --count {count}; name a file, such as -o lake.png")
    if sys.stdout.isatty():
        raise UserError("-o - does not write an image to a terminal; redirect stdout, or name a file with -o")


def _number(flag: str, text: str | None, kind: str) -> Any:
    """A flag's number, within what the contract takes. Raises UserError."""
    if text is None:
        return None
    try:
        value = KINDS[kind].from_text(text)
    except ValueError:
        raise UserError(f"--{flag} wants {KINDS[kind].wants}, not {text!r}") from None
    least, most = BOUNDS[flag]
    if not least <= value <= most:
        raise UserError(f"--{flag} wants {least} to {most}, not {text}")
    return value


def _file(flag: str, name: str | None) -> bytes:
    """The bytes of a flag's file; what they are the service judges, to which none is no picture. Raises UserError."""
    if not name:
        return b""
    try:
        data = parse_path(name).read_bytes()
    except OSError as error:
        raise UserError(f"--{flag}: can't read {name}: {error.strerror}") from error
    if not data:
        raise UserError(f"--{flag}: {name} is empty")
    return data


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = re.fullmatch(r"([1-9]\d{0,8})[xX]([1-9]\d{0,8})", text)
    if not match:
        raise UserError(f"--size wants WIDTHxHEIGHT in pixels, such as 512x512, not {text!r}")
    return int(match[1]), int(match[2])


def _is_remote(arguments: Namespace) -> bool:
    return bool(arguments.grpc or os.environ.get("TINTYPE_GRPC"))


def _is_folder(model: str | None) -> bool:
    """Whether --model names a folder: it is one, or it could be nothing else."""
    return bool(model) and (parse_path(str(model)).is_dir() or os.sep in str(model))


def _own_model(model: str | None) -> dict[str, Any]:
    return {"models": (parse_path(str(model)),)} if _is_folder(model) else {}


async def _generate(arguments: Namespace, sources: Sources, request: pb.GenerateImagesRequest, output: Path) -> None:
    async with _service(arguments, sources) as (stub, metadata):
        with view(sys.stderr, max(request.count, 1), quiet=arguments.quiet) as shown:
            images = []
            asked = pb.StreamImagesRequest(generation=request)
            async for event in stub.StreamImages(asked, metadata=metadata):
                shown.show(event)
                if event.HasField("image"):
                    images.append(event.image)
        for image in sorted(images, key=lambda image: image.index):
            _keep(image, output, request.count, quiet=arguments.quiet)


def _keep(image: pb.Image, output: Path, count: int, *, quiet: bool) -> None:
    """Save one of `count` images and describe it.

    With `-o -` the image goes to stdout and its description to stderr.
    """
    if output != STDOUT:
        path = numbered(output, image.index, count)
        save(image.data, path)
        print(describe(image, path))
        return
    sys.stdout.buffer.write(image.data)
    sys.stdout.buffer.flush()
    if not quiet:
        sys.stderr.write(f"{describe(image, output)}\n")


@asynccontextmanager
async def _service(arguments: Namespace, sources: Sources) -> AsyncIterator[Service]:
    """Connect to a remote service, or run one in this process.

    Leaving the block ends either.
    """
    if _is_remote(arguments):
        async with connect(sources) as service:
            yield service
        return
    running = import_module("tintype.service.server").running
    own = {"api_key": secrets.token_urlsafe(32)}  # other users of this machine can't call it
    async with (
        running(sources.config("service", grpc=HERE, **own, **_own_model(arguments.model))) as address,
        connect(Sources(flags={"grpc": address, "service_key": own["api_key"]})) as service,
    ):
        yield service


def describe(image: pb.Image, path: Path) -> str:
    """One line about a picture that was saved."""
    seconds = image.timings.total.ToTimedelta().total_seconds()
    said = f"{path}: {image.width}x{image.height}, seed {image.seed}, {seconds:.1f} s"
    return said + (f", prompt used: {image.revised_prompt}" if image.revised_prompt else "")
