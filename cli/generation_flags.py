"""Flags of `tintype generate` that describe the image: flag, value, default, help."""

from __future__ import annotations

from .parser import OnceAction

GENERATION = (
    ("--size", "WxH", None, "width and height in pixels, for example 512x512 (default: the model's)"),
    ("--steps", "N", None, "denoising steps (default: the model's)"),
    ("--seed", "N", None, "seed; the same seed makes the same image (default: random)"),
    ("--guidance", "X", None, "guidance scale: how closely to follow the prompt (default: the model's)"),
    ("--negative", "PROMPT", "", "negative prompt: what the image should not show"),
    ("--sampler", "NAME", "", "sampler, for example euler or dpmpp_2m (default: the model's)"),
    ("--schedule", "NAME", "", "schedule of noise levels, for example karras (default: the sampler's)"),
    ("--quality", "NAME", "", "quality preset, for example low or hd (default: the model's)"),
    ("--style", "NAME", "", "style preset, for example vivid or natural (default: none)"),
    ("--count", "N", "1", "number of images, with consecutive seeds (default: 1)"),
    ("--image", "FILE", None, "image to start from: PNG, JPEG or WebP"),
    ("--mask", "FILE", None, "mask of --image: white or transparent areas are repainted (default: all of it)"),
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
    ("--clip-skip", "N", None, "last layers of CLIP to leave out, beyond the model's own choice (default: 0)"),
    ("--model", "MODEL", None, "folder, .safetensors file or OWNER/NAME on the hub; with --grpc the name of a model"),
)
REPEATED = ("--reference", "--control", "--image-prompt")
ACTIONS = {"--model": OnceAction} | dict.fromkeys(REPEATED, "append")
