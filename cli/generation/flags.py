"""Flags of `tintype generate`, in groups: flag, placeholder, default, help."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from typing import TYPE_CHECKING

from ..parser import OnceAction
from ..settings.definitions import SECTIONS, settings_of
from ..settings.flags import add_config, add_service, add_setting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..parser import FlagContainer, Parser

DEFAULT_OUTPUT = "image.png"
# Ways to show an image in a terminal; `cli.images.screen` has those that draw.
SHOW = ("auto", "kitty", "iterm2", "sixel", "blocks", "none")
IMAGE = (
    ("--size", "WxH", None, "width and height in pixels, for example 512x512 (default: the model's)"),
    ("--steps", "N", None, "denoising steps (default: the model's)"),
    ("--seed", "N", None, "seed; the same seed makes the same image (default: random)"),
    ("--guidance", "X", None, "guidance scale: how closely to follow the prompt (default: the model's)"),
    ("--negative", "PROMPT", "", "negative prompt: what the image should not show"),
    ("--sampler", "NAME", "", "sampler, for example euler or dpmpp_2m (default: the model's)"),
    ("--schedule", "NAME", "", "schedule of noise levels, for example karras (default: the sampler's)"),
    ("--quality", "NAME", "", "quality preset, for example low or hd (default: the model's)"),
    ("--style", "NAME", "", "style preset, for example vivid or natural (default: none)"),
    ("--count", "N", "1", "number of images of each prompt, with consecutive seeds (default: 1)"),
    ("--lora", "NAME[:WEIGHT]", None, "adapter in the model's loras/, weight (default: 1); may be repeated"),
    ("--embedding", "NAME", None, "textual inversion that the prompts name; may be repeated"),
    ("--clip-skip", "N", None, "last layers of CLIP to leave out, beyond the model's own choice (default: 0)"),
)
INPUTS = (
    ("--image", "FILE", None, "image to start from: PNG, JPEG or WebP; - is stdin"),
    ("--mask", "FILE", None, "mask of --image: white or transparent areas are repainted (default: all of it)"),
    ("--extend", "SIDE=N,...", None, "outpaint --image by N pixels to the left, top, right or bottom"),
    ("--strength", "X", None, "how far to depart from --image, 0 to 1 (default: the model's)"),
    ("--reference", "FILE", None, "image to edit or to refer to, in the order of the prompt; may be repeated"),
    (
        "--control",
        "NAME=FILE[:WEIGHT[:START-END]]",
        None,
        "ControlNet, image to follow, weight (default: 1), fractions of the steps (default: 0-1); may be repeated",
    ),
    (
        "--image-prompt",
        "NAME=FILE[:WEIGHT]",
        None,
        "IP-Adapter, image that the result resembles, weight (default: 1); may be repeated",
    ),
)
MODEL = (
    ("--model", "MODEL", None, "folder, .safetensors file or OWNER/NAME on the hub; with --grpc the name of a model"),
)
GRID = (
    ("--grid", "FILE", None, "also write all images as one contact sheet; without -o, write only the sheet"),
    ("--x", "NAME=VALUE,...", None, "vary a flag over the columns of --grid, for example steps=4,8,20"),
    ("--y", "NAME=VALUE,...", None, "vary a flag over the rows; | separates values that have commas"),
)
REPEATED = ("--lora", "--embedding", "--reference", "--control", "--image-prompt")
ACTIONS = {"--model": OnceAction} | dict.fromkeys(REPEATED, "append")
# The flags that a prompt of a file may set, by name, and whether it may have several values.
OF_A_PROMPT = {flag.lstrip("-").replace("-", "_"): flag in REPEATED for flag, *_ in (*IMAGE, *INPUTS, *MODEL)}
# Settings of models that are read from published weights.
LOADING = (
    "precision",
    "mapped",
    "keep_graphs",
    "exact",
    "text_encoders",
    "vae",
    "templates",
    "weights_cache",
    "additions",
)


def add_generate(parser: Parser) -> None:
    """Add all flags of `tintype generate`."""
    parser.rest, parser.usage = "prompt", "tintype generate [FLAG]... PROMPT..."
    prompt = "what the image shows; several prompts make several images; - reads one from stdin"
    parser.add_argument("prompt", metavar="PROMPT", nargs="*", help=prompt)
    prompts = parser.add_argument_group("prompts")
    file = "file of prompts, one a line; # begins a comment; a line may be a JSON object of flags; - is stdin"
    prompts.add_argument("--prompts", metavar="FILE", help=file)
    jobs = "prompts that are sent to the service at a time, 1 to 64 (default: 4)"
    prompts.add_argument("--jobs", metavar="N", default="4", help=jobs)
    _add(parser.add_argument_group("image"), IMAGE)
    _add(parser.add_argument_group("images to start from or to follow"), INPUTS)
    _add_output(parser.add_argument_group("output"))
    grid = parser.add_argument_group("grid")
    _add(grid, GRID)
    labels = "write prompts, seeds and varied values on the sheet (default: on)"
    grid.add_argument("--labels", default=True, action=BooleanOptionalAction, help=labels)
    service, local = parser.add_argument_group("running service"), parser.add_argument_group("model in this process")
    add_service(service, "address of a running service, HOST:PORT (default: none, run the model in this process)")
    _add(local, MODEL)
    for name in ("providers", "memory", "threads", *LOADING):
        add_setting(local, settings_of(SECTIONS["service"])[name])
    add_config(parser)


def _add(group: FlagContainer, flags: Iterable[tuple[str, str, str | None, str]]) -> None:
    for flag, metavar, default, text in flags:
        group.add_argument(flag, metavar=metavar, default=default, help=text, action=ACTIONS.get(flag, "store"))


def _add_output(group: FlagContainer) -> None:
    output = (
        "PNG, JPEG or WebP file; several images are numbered, as in lake-1.png; a pattern may have {index}, {image}, "
        f"{{seed}}, {{slug}}, {{width}} and {{height}}, as in {{index:03}}-{{slug}}.png; - is stdout "
        f"(default: {DEFAULT_OUTPUT})"
    )
    group.add_argument("-o", "--output", metavar="FILE", help=output.replace("%", "%%"))
    overwrite = "replace existing files (default: only a file that -o names for one prompt; others get -2, -3, ...)"
    group.add_argument("--overwrite", default=None, action=BooleanOptionalAction, help=overwrite)
    show = f"show images in the terminal: {', '.join(SHOW)} (default: auto, up to 4 images where the terminal can)"
    group.add_argument("--show", metavar="WAY", default="auto", choices=SHOW, help=show)
    group.add_argument("--json", action="store_true", help="print a line of JSON for each image")
    group.add_argument("-q", "--quiet", action="store_true", help="show neither progress nor a summary")
