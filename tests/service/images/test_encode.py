"""Pixels to files and back: what is in a file, in its metadata, and at which size."""

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
    """Return a colourful picture without edges, [3, h, w]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [np.sin(x / 9) / 2 + 0.5, np.cos(y / 7) / 2 + 0.5, (x + y) / (height + width)]
    return np.stack(planes).astype(np.float32)


def opened(data: bytes) -> Image.Image:
    """Return the image in a file, as Pillow sees it."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def planes(image: Image.Image) -> np.ndarray:
    """Return an image as [3, h, w] in 0..1."""
    return np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 255


def comment(image: Image.Image) -> str:
    """Return the text of an image's EXIF UserComment, which must say that it is Unicode."""
    data: Any = image.getexif().get_ifd(0x8769)[0x9286]
    assert data.startswith(b"UNICODE\0")
    return data[8:].decode("utf-16-be")


def read(text: str) -> dict[str, str]:
    """Read the settings as the web UI does."""
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
def test_pictures_come_back(output: Output, error: float) -> None:
    """Lossless files differ by rounding to 8 bits only, others by little."""
    picture = encode(smooth(), output)
    image = opened(picture.data)
    assert Image.MIME[image.format or ""] == output.mime_type == picture.mime_type
    assert image.size == (picture.width, picture.height) == (48, 32)
    assert np.abs(planes(image) - smooth()).max() <= error


def test_rounding_is_to_the_nearest_level() -> None:
    """0.5 of a level rounds as diffusers' numpy_to_pil, and what is beyond the range is clipped."""
    pixels = (
        np.array([-0.5, 0, 0.4999 / 255, 0.5001 / 255, 1.5 / 255, 1, 1.5], np.float32).reshape(1, 1, 7).repeat(3, 0)
    )
    assert np.asarray(to_image(pixels))[0, :, 0].tolist() == [0, 0, 0, 1, 2, 255, 255]


def test_jpeg_keeps_the_colours_of_single_pixels() -> None:
    """JPEG is 4:4:4: its quantisation and nothing else blurs colour."""
    image: Any = opened(encode(smooth(), Output("image/jpeg")).data)
    assert image.layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]


@pytest.mark.parametrize("mime_type", ["image/jpeg", "image/webp"])
def test_quality_counts(mime_type: str) -> None:
    """A higher quality is a larger file, over the whole range."""
    noise = np.random.default_rng(0).random((3, 64, 64), np.float32)
    sizes = [len(encode(noise, Output(mime_type, quality)).data) for quality in (0, 40, 80, 99)]
    assert sizes == sorted(set(sizes))


def test_alpha_is_opaque() -> None:
    """PNG gets an alpha channel on demand, and it is opaque."""
    assert opened(encode(smooth(), Output()).data).mode == "RGB"
    image = opened(encode(smooth(), Output(alpha=True)).data)
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize("mime_type", ["image/jpeg", "image/webp"])
def test_alpha_is_harmless_where_a_file_has_none(mime_type: str) -> None:
    """JPEG and WebP are what they are without it."""
    assert encode(smooth(), Output(mime_type, alpha=True)) == encode(smooth(), Output(mime_type))


@pytest.mark.parametrize("size", [(96, 64), (24, 16), (16, 16), (200, 20), (48, 33)])
def test_any_size_can_be_had(size: tuple[int, int]) -> None:
    """The file has the size that was asked for."""
    picture = encode(smooth(), Output(), size=size)
    assert opened(picture.data).size == size == (picture.width, picture.height)


def test_resampling_keeps_shapes() -> None:
    """Another aspect cuts the sides off evenly and stretches nothing."""
    half = Image.new("RGB", (40, 20))
    half.paste((255, 0, 0), (20, 0, 40, 20))
    columns = np.asarray(resample(half, (20, 20)))[10, :, 0]
    assert columns[:8].max() < 10
    assert columns[12:].min() > 245


def test_resampling_is_lanczos() -> None:
    """A doubled gradient stays a gradient."""
    picture = encode(smooth(), Output(), size=(96, 64))
    exact = smooth(64, 96)
    exact[0] = np.sin((np.mgrid[0:64, 0:96][1] / 2 - 0.25) / 9) / 2 + 0.5
    assert np.abs(planes(opened(picture.data))[0] - exact[0]).max() < 0.02


@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_metadata_is_read_back(mime_type: str) -> None:
    """The web UI's own expression finds every setting in every kind of file."""
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
def test_strength_is_told_where_a_picture_was_the_start(strength: float) -> None:
    """Under the name that the web UI reads, 0 included."""
    assert read(str(replace(PARAMETERS, strength=strength)))["Denoising strength"] == f"{strength:g}"


@pytest.mark.parametrize("mime_type", MIME_TYPES)
@pytest.mark.parametrize("prompt", ["湖 at dusk", "🌄", "é", "two\nlines", "a\0b"])
def test_prompts_of_any_script_are_kept(mime_type: str, prompt: str) -> None:
    """What was asked stands in the file, letter for letter."""
    parameters = Parameters(prompt=prompt, steps=1, guidance_scale=1, seed=0, width=8, height=8)
    image = opened(encode(smooth(), Output(mime_type), parameters=parameters).data)
    text = image.info["parameters"] if mime_type == "image/png" else comment(image)
    assert text.startswith(prompt + "\nSteps: 1, CFG scale: 1, Seed: 0, Size: 8x8")


def test_no_prompt_is_no_line() -> None:
    """What was drawn unprompted says only how, as the web UI writes it."""
    parameters = Parameters(prompt="", steps=1, guidance_scale=1, seed=0, width=8, height=8)
    assert str(parameters) == "Steps: 1, CFG scale: 1, Seed: 0, Size: 8x8, Version: tintype"


@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_metadata_can_be_left_out(mime_type: str) -> None:
    """Without parameters a file says nothing of how it was made."""
    image = opened(encode(smooth(), Output(mime_type)).data)
    assert not image.getexif()
    assert "parameters" not in image.info


def test_the_longest_prompts_fit_even_jpeg() -> None:
    """A JPEG holds 64 kB of metadata: prompts are cut, settings stay."""
    parameters = Parameters(
        prompt="🌄" * 32_000, negative_prompt="木" * 32_000, steps=9, guidance_scale=1, seed=7, width=8, height=8
    )
    text = comment(opened(encode(smooth(), Output("image/jpeg"), parameters=parameters).data))
    assert text.startswith("🌄" * 1000)
    assert read(text)["Seed"] == "7"
