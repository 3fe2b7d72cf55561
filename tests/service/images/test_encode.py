"""Encoding of images: pixels, metadata and sizes of files."""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tintype.service.images.encode import Output, encode
from tintype.service.images.metadata import Parameters
from tintype.service.images.pixels import resample, to_image
from tintype.service.job import Control, ImageFile
from tintype.v1.limits import MIME_TYPES

PARAMETERS = Parameters(
    prompt="a lighthouse, at dusk",
    negative_prompt="blurry",
    steps=20,
    sampler="dpmpp_2m",
    schedule="karras",
    guidance_scale=7.5,
    seed=42,
    width=48,
    height=32,
    model="sky: one, two",
)
# How AUTOMATIC1111's web UI reads the last line (modules/infotext_utils.py, re_param).
RE_PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def smooth(height: int = 32, width: int = 48) -> np.ndarray:
    """Return a colourful image without edges, [3, h, w]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [np.sin(x / 9) / 2 + 0.5, np.cos(y / 7) / 2 + 0.5, (x + y) / (height + width)]
    return np.stack(planes).astype(np.float32)


def opened(data: bytes) -> Image.Image:
    """Return the image in a file, decoded by Pillow."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def planes(image: Image.Image) -> np.ndarray:
    """Return an image as [3, h, w] in 0..1."""
    return np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 255


def comment(image: Image.Image) -> str:
    """Return the text of an image's EXIF UserComment, which must be marked as Unicode."""
    data: Any = image.getexif().get_ifd(0x8769)[0x9286]
    assert data.startswith(b"UNICODE\0")
    return data[8:].decode("utf-16-be")


def read(text: str) -> dict[str, str]:
    """Parse settings as the web UI does."""
    return {key: value.strip('"') for key, value in RE_PARAM.findall(text.splitlines()[-1])}


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (Output("image/png"), 1 / 510 + 1e-6),
        (Output("image/webp", 100), 1 / 510 + 1e-6),
        (Output("image/webp", 90), 0.08),
        (Output("image/jpeg", 95), 0.04),
    ],
)
def test_pixels_are_kept(output: Output, error: float) -> None:
    """Lossless files differ only by rounding to 8 bits, others by little."""
    encoded = encode(smooth(), output)
    image = opened(encoded.data)
    assert Image.MIME[image.format or ""] == output.mime_type == encoded.mime_type
    assert image.size == (encoded.width, encoded.height) == (48, 32)
    assert np.abs(planes(image) - smooth()).max() <= error


def test_rounding_is_to_the_nearest_level() -> None:
    """Levels are rounded as in diffusers' numpy_to_pil, and values out of range are clipped."""
    pixels = (
        np.array([-0.5, 0, 0.4999 / 255, 0.5001 / 255, 1.5 / 255, 1, 1.5], np.float32).reshape(1, 1, 7).repeat(3, 0)
    )
    assert np.asarray(to_image(pixels))[0, :, 0].tolist() == [0, 0, 0, 1, 2, 255, 255]


def test_jpeg_has_full_colour_resolution() -> None:
    """JPEG is 4:4:4, so only quantisation changes colours."""
    image: Any = opened(encode(smooth(), Output("image/jpeg")).data)
    assert image.layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]


@pytest.mark.parametrize("mime_type", ["image/jpeg", "image/webp"])
def test_quality_changes_the_size(mime_type: str) -> None:
    """A higher quality gives a larger file, over the whole range."""
    noise = np.random.default_rng(0).random((3, 64, 64), np.float32)
    sizes = [len(encode(noise, Output(mime_type, quality)).data) for quality in (0, 40, 80, 99)]
    assert sizes == sorted(set(sizes))


def test_alpha_is_opaque() -> None:
    """A requested alpha channel of a PNG is opaque."""
    assert opened(encode(smooth(), Output()).data).mode == "RGB"
    image = opened(encode(smooth(), Output(alpha=True)).data)
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize("mime_type", ["image/jpeg", "image/webp"])
def test_alpha_does_not_change_jpeg_and_webp(mime_type: str) -> None:
    """JPEG and WebP files with and without `alpha` are equal."""
    assert encode(smooth(), Output(mime_type, alpha=True)) == encode(smooth(), Output(mime_type))


@pytest.mark.parametrize("size", [(96, 64), (24, 16), (16, 16), (200, 20), (48, 33)])
def test_requested_size(size: tuple[int, int]) -> None:
    """The file has the requested size."""
    encoded = encode(smooth(), Output(), size=size)
    assert opened(encoded.data).size == size == (encoded.width, encoded.height)


def test_resampling_crops() -> None:
    """For another aspect ratio both sides are cropped evenly; nothing is stretched."""
    half = Image.new("RGB", (40, 20))
    half.paste((255, 0, 0), (20, 0, 40, 20))
    columns = np.asarray(resample(half, (20, 20)))[10, :, 0]
    assert columns[:8].max() < 10
    assert columns[12:].min() > 245


def test_resampling_is_lanczos() -> None:
    """A gradient in twice the size is still a gradient."""
    encoded = encode(smooth(), Output(), size=(96, 64))
    exact = smooth(64, 96)
    exact[0] = np.sin((np.mgrid[0:64, 0:96][1] / 2 - 0.25) / 9) / 2 + 0.5
    assert np.abs(planes(opened(encoded.data))[0] - exact[0]).max() < 0.02


@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_metadata_is_read_back(mime_type: str) -> None:
    """The web UI's regular expression finds each setting in each type of file."""
    image = opened(encode(smooth(), Output(mime_type), parameters=PARAMETERS).data)
    text = image.info["parameters"] if mime_type == "image/png" else comment(image)
    assert text.splitlines()[:2] == ["a lighthouse, at dusk", "Negative prompt: blurry"]
    assert read(text) == {
        "Steps": "20",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "7.5",
        "Seed": "42",
        "Size": "48x32",
        "Model": "sky: one, two",
        "Version": "tintype",
    }


@pytest.mark.parametrize("strength", [0.0, 0.75])
def test_metadata_has_the_strength(strength: float) -> None:
    """The strength has the web UI's name, also if it is 0."""
    assert read(str(replace(PARAMETERS, strength=strength)))["Denoising strength"] == f"{strength:g}"


@pytest.mark.parametrize("mime_type", MIME_TYPES)
@pytest.mark.parametrize("prompt", ["湖 at dusk", "🌄", "é", "two\nlines", "a\0b"])
def test_prompts_of_any_script_are_kept(mime_type: str, prompt: str) -> None:
    """Prompts in any script are stored unchanged."""
    parameters = Parameters(prompt=prompt, steps=1, guidance_scale=1, seed=0, width=8, height=8)
    image = opened(encode(smooth(), Output(mime_type), parameters=parameters).data)
    text = image.info["parameters"] if mime_type == "image/png" else comment(image)
    assert text.startswith(prompt + "\nSteps: 1, CFG scale: 1, Seed: 0, Size: 8x8")


def test_metadata_without_a_prompt() -> None:
    """Metadata of an image without a prompt has only the line of settings, as in the web UI."""
    parameters = Parameters(prompt="", steps=1, guidance_scale=1, seed=0, width=8, height=8)
    assert str(parameters) == "Steps: 1, CFG scale: 1, Seed: 0, Size: 8x8, Version: tintype"


def test_metadata_names_controls_and_references() -> None:
    """Metadata name what controls an image, as the web UI and its ControlNet extension do, and count references."""
    control = Control(name="canny, fine", image=b"", weight=0.5, start=0.25)
    parameters = replace(
        PARAMETERS,
        clip_skip=1,
        clip_layer=2,
        references=(b"", b""),
        controls=(control,),
        image_prompts=(ImageFile(name="ip-adapter", image=b""),),
    )
    found = read(str(parameters))
    unit = "Module: none, Model: canny, fine, Weight: 0.5, Guidance Start: 0.25, Guidance End: 1"
    assert (found["Clip skip"], found["References"], found["ControlNet 0"]) == ("3", "2", unit)
    assert found["ControlNet 1"] == "Module: ip-adapter-auto, Model: ip-adapter, Weight: 1"


def test_metadata_names_loras_in_the_prompt() -> None:
    """LoRAs are written as the web UI's prompts have them, which programs read back."""
    loras = (("ink", 0.8), ("soft light", -1.0))
    assert str(replace(PARAMETERS, loras=loras)).startswith(
        "a lighthouse, at dusk <lora:ink:0.8> <lora:soft light:-1>\nNegative prompt: blurry\nSteps: 20"
    )
    assert str(replace(PARAMETERS, prompt="", negative_prompt="", loras=loras[:1])).startswith("<lora:ink:0.8>\nSteps")


@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_metadata_can_be_left_out(mime_type: str) -> None:
    """Without parameters a file has no metadata."""
    image = opened(encode(smooth(), Output(mime_type)).data)
    assert not image.getexif()
    assert "parameters" not in image.info


def test_long_prompts_are_cut_in_jpeg() -> None:
    """A JPEG has at most 64 kB of metadata: prompts are cut, settings are kept."""
    parameters = Parameters(
        prompt="🌄" * 32_000, negative_prompt="木" * 32_000, steps=9, guidance_scale=1, seed=7, width=8, height=8
    )
    text = comment(opened(encode(smooth(), Output("image/jpeg"), parameters=parameters).data))
    assert text.startswith("🌄" * 1000)
    assert read(text)["Seed"] == "7"
