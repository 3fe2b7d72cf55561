"""Images to edit: the sizes in which models read them, and the images that are refused."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tintype.service.errors import InvalidField
from tintype.service.images.references import FITS, KONTEXT_SIZES, check_shape, make_reference, read, result_size
from tintype.service.models.spec import ReferenceFit, ReferenceRule

if TYPE_CHECKING:
    from tintype.service.models.spec import Size

KONTEXT, FLUX2, QWEN = ReferenceFit.KONTEXT, ReferenceFit.FLUX2, ReferenceFit.QWEN


def image(width: int, height: int) -> Image.Image:
    """Return an image whose levels grow to the right (red) and downwards (green)."""
    across = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    down = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([across, down, 0 * down], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("fit", "own", "fitted"),
    [
        (KONTEXT, (1024, 1024), (1024, 1024)),
        (KONTEXT, (64, 64), (1024, 1024)),
        (KONTEXT, (4000, 3000), (1184, 880)),
        (KONTEXT, (3000, 4000), (880, 1184)),
        (KONTEXT, (8000, 1000), (1568, 672)),
        (KONTEXT, (1000, 8000), (672, 1568)),
        (KONTEXT, (79, 79), (1024, 1024)),
        (KONTEXT, (95, 80), (1024, 1024)),  # 80 x 80 in whole tokens
        (FLUX2, (1024, 1024), (1024, 1024)),
        (FLUX2, (79, 65), (64, 64)),
        (FLUX2, (2048, 1024), (1440, 720)),
        (FLUX2, (1500, 1000), (1248, 832)),
        (QWEN, (64, 64), (1024, 1024)),
        (QWEN, (1600, 900), (1376, 768)),
        (QWEN, (8000, 1000), (2912, 352)),
    ],
)
def test_an_image_is_resized_to_what_the_model_reads(fit: ReferenceFit, own: Size, fitted: Size) -> None:
    """To a trained size, to at most a megapixel in whole tokens, or to about a megapixel in multiples of 32."""
    assert FITS[fit](image(*own)).size == fitted


@pytest.mark.parametrize("fit", ReferenceFit)
def test_the_whole_image_is_kept(fit: ReferenceFit) -> None:
    """No side is cut by more than a token, or mirrored."""
    levels = np.asarray(FITS[fit](image(300, 200)))
    assert max(levels[:, 0, 0].max(), levels[0, :, 1].max()) < 16
    assert min(levels[:, -1, 0].min(), levels[-1, :, 1].min()) > 240


def test_the_trained_sizes_of_kontext_are_tokens_of_a_megapixel() -> None:
    """Each has both orientations, whole tokens of 16 pixels, and about a megapixel."""
    assert len(KONTEXT_SIZES) == 17
    for width, height in KONTEXT_SIZES:
        assert (height, width) in KONTEXT_SIZES
        assert width % 16 == height % 16 == 0
        assert 0.98 < width * height / 2**20 < 1.02


def test_a_reference_holds_levels_and_a_digest_of_them() -> None:
    """Levels are [3, h, w]; the digest is that of the content, whatever the file."""
    rule = ReferenceRule(most=1, fit=FLUX2)
    first, again = (make_reference(image(96, 64), rule) for _ in range(2))
    assert first.levels.shape == (3, 64, 96)
    assert first.levels.flags.c_contiguous
    assert result_size(first) == (96, 64)
    assert first.seen is None
    assert first.digest == again.digest != make_reference(image(96, 80), rule).digest


@pytest.mark.parametrize(("area", "seen"), [(384 * 384, (280, 504)), (1024 * 1024, (756, 1372))])
def test_a_text_encoder_that_sees_images_gets_another_one(area: int, seen: Size) -> None:
    """About as many pixels as the rule says, in multiples of 28, besides the image for the image encoder."""
    reference = make_reference(image(1600, 900), ReferenceRule(most=1, fit=QWEN, seen=area))
    assert reference.levels.shape == (3, 768, 1376)
    assert reference.seen is not None
    assert reference.seen.shape == (3, *seen)


@pytest.mark.parametrize(("size", "right"), [((64, 512), True), ((63, 64), False), ((64, 513), False)])
def test_images_that_are_too_small_or_too_long_are_refused(size: Size, right: bool) -> None:  # noqa: FBT001
    """Both sides have at least 64 pixels, and one is at most 8 times the other; the error names the field."""
    if right:
        check_shape(image(*size), "references[2]")
        return
    with pytest.raises(InvalidField, match=rf"references\[2\]: must be at least 64 .* not {size[0]}x{size[1]}"):
        check_shape(image(*size), "references[2]")


def test_files_are_read_upright_and_on_white() -> None:
    """A turned file is turned back, and transparent parts are white."""
    clear = Image.new("RGBA", (80, 64), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = BytesIO()
    clear.save(data, "PNG", exif=exif)
    shown = read(data.getvalue(), "references[0]")
    assert (shown.mode, shown.size) == ("RGB", (64, 80))
    assert np.asarray(shown).min() == 255


def test_a_file_that_is_no_image_is_refused() -> None:
    """The error names the field."""
    with pytest.raises(InvalidField, match=r"references\[1\]"):
        read(b"text", "references[1]")
