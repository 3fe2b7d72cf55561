"""The initial image and its mask, prepared as the web UI does."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.support.gateway.bodies import open_image, png, png_of
from tests.support.pixels import colour
from tintype.gateway.errors import InvalidImage
from tintype.gateway.sdapi.init_image import fill, prepare, resize
from tintype.gateway.sdapi.request_types import ImageToImage

Box = tuple[int, int, int, int]


def img2img(**fields: Any) -> ImageToImage:
    return ImageToImage(**{"mask_blur": 0, "inpaint_full_res": False} | fields)


def masked(size: tuple[int, int], box: Box) -> bytes:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return png_of(mask)


def halves(width: int = 40, height: int = 20) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return image


class TestSize:
    def test_mode_0_stretches(self) -> None:
        """Mode 0 keeps the whole image, but not its aspect ratio."""
        image = resize(halves(), (20, 20), 0)
        assert (image.size, image.getpixel((1, 10)), image.getpixel((18, 10))) == ((20, 20), (255, 0, 0), (0, 0, 255))

    def test_mode_1_crops_both_sides(self) -> None:
        """Mode 1 keeps the aspect ratio, and crops both sides equally."""
        striped = halves(40, 20)
        striped.paste("lime", (0, 0, 8, 20))
        striped.paste("lime", (32, 0, 40, 20))
        image = resize(striped, (20, 20), 1)
        assert image.size == (20, 20)
        assert {image.getpixel((x, 10)) for x in (3, 16)} == {(255, 0, 0), (0, 0, 255)}

    @pytest.mark.parametrize("size", [(40, 60), (120, 20), (41, 61)])
    def test_mode_2_extends_the_edges(self, size: tuple[int, int]) -> None:
        """Mode 2 keeps the aspect ratio and the whole image; the colours of its edges are extended."""
        image = resize(halves(), size, 2)
        assert image.size == size
        for y in (0, size[1] // 2, size[1] - 1):
            assert image.getpixel((0, y)) == (255, 0, 0)
            assert image.getpixel((size[0] - 1, y)) == (0, 0, 255)

    def test_absent_side_is_the_images_own(self) -> None:
        """An absent side is the image's own."""
        initial = prepare(img2img(width=32), png(64, 48), b"")
        assert initial.size == open_image(initial.image).size == (32, 48)


class TestMask:
    def test_opaque_mask_repaints_white(self) -> None:
        """Without a real alpha channel brightness counts: white is repainted."""
        mask = Image.new("RGBA", (20, 20), "black")
        mask.paste((255, 255, 255, 255), (0, 0, 10, 20))
        sent = open_image(prepare(img2img(), png(20, 20), png_of(mask)).mask)
        assert (sent.mode, sent.getpixel((5, 5)), sent.getpixel((15, 5))) == ("L", 255, 0)

    def test_transparent_mask_repaints_opaque(self) -> None:
        """With an alpha channel, opaque is repainted, whatever the colour."""
        mask = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
        mask.paste((0, 0, 0, 255), (0, 0, 10, 20))
        sent = open_image(prepare(img2img(), png(20, 20), png_of(mask)).mask)
        assert (sent.getpixel((5, 5)), sent.getpixel((15, 5))) == (255, 0)

    def test_mask_edge_is_blurred(self) -> None:
        """The edge is blurred, by 4 pixels by default, and separately by direction if requested."""
        mask = masked((60, 60), (0, 0, 30, 30))
        usual = open_image(prepare(img2img(mask_blur=None), png(60, 60), mask).mask)
        assert 0 < usual.getpixel((28, 10)) < 255  # type: ignore[operator]
        across = open_image(prepare(img2img(mask_blur_x=4, mask_blur_y=0), png(60, 60), mask).mask)
        assert 0 < across.getpixel((28, 10)) < 255  # type: ignore[operator]
        assert (across.getpixel((10, 29)), across.getpixel((10, 31))) == (255, 0)

    def test_mask_is_resized_to_the_image(self) -> None:
        """A mask of another size is resized to the image's."""
        initial = prepare(img2img(), png(64, 48), masked((32, 24), (0, 0, 16, 24)))
        assert open_image(initial.mask).size == (64, 48)
        assert open_image(initial.mask).getpixel((10, 10)) == 255


class TestFill:
    def test_fill_continues_the_colours_around(self) -> None:
        """The masked part gets the colours next to it; the rest is bit-identical."""
        image = halves(64, 32)
        image.paste("lime", (28, 8, 36, 24))
        mask = open_image(masked((64, 32), (24, 4, 40, 28)))
        done = fill(image, mask)
        assert done.getchannel("G").getextrema()[1] <= 40  # type: ignore[operator]
        left, right = done.getpixel((26, 16)), done.getpixel((38, 16))
        assert left[0] > left[2]  # type: ignore[index]
        assert right[2] > right[0]  # type: ignore[index]
        outside = Image.composite(Image.new("RGB", (64, 32)), image, mask)
        assert Image.composite(Image.new("RGB", (64, 32)), done, mask).tobytes() == outside.tobytes()

    @pytest.mark.parametrize(("fill", "kept"), [(0, False), (1, True), (2, True), (3, True)])
    def test_only_mode_0_fills(self, fill: int, *, kept: bool) -> None:
        """Only mode 0 fills; the others start from the image."""
        image = halves()
        image.paste("lime", (10, 5, 20, 15))
        sent = prepare(img2img(inpainting_fill=fill), png_of(image), masked((40, 20), (10, 5, 20, 15))).image
        assert (open_image(sent).tobytes() == image.tobytes()) is kept

    def test_fill_without_known_pixels(self) -> None:
        """If no pixel is known, the result is still an image."""
        assert fill(halves(), Image.new("L", (40, 20), 255)).size == (40, 20)


class TestOnlyMasked:
    @pytest.mark.parametrize(
        ("box", "padding", "size", "part"),
        [
            ((40, 40, 60, 60), 0, (64, 64), (40, 40, 60, 60)),
            ((40, 40, 60, 60), 10, (64, 64), (30, 30, 70, 70)),
            ((40, 40, 60, 50), 0, (64, 64), (40, 35, 60, 55)),
            ((40, 40, 60, 60), 0, (128, 64), (30, 40, 70, 60)),
            ((0, 0, 20, 10), 5, (64, 64), (0, 0, 30, 30)),
            ((80, 90, 100, 100), 0, (64, 64), (80, 80, 100, 100)),
            ((0, 0, 100, 100), 32, (64, 64), (0, 0, 100, 100)),
            ((0, 45, 100, 55), 0, (32, 64), (0, 0, 100, 100)),
        ],
    )
    def test_region_has_mask_padding_and_ratio(self, box: Box, padding: int, size: tuple[int, int], part: Box) -> None:
        """The part has the mask, the padding and the requested aspect ratio, within the bounds of the image."""
        request = img2img(inpaint_full_res=True, inpaint_full_res_padding=padding, width=size[0], height=size[1])
        initial = prepare(request, png(100, 100), masked((100, 100), box))
        assert initial.region is not None
        assert initial.region.box == part
        assert open_image(initial.image).size == open_image(initial.mask).size == initial.size == size

    def test_empty_mask_has_no_region(self) -> None:
        """An empty mask has no region: the whole image is made."""
        assert prepare(img2img(inpaint_full_res=True), png(), masked((64, 48), (0, 0, 0, 0))).region is None

    @pytest.mark.parametrize(("kind", "exact"), [("PNG", True), ("JPEG", False), ("WEBP", False)])
    def test_result_is_pasted_into_its_region(self, kind: str, *, exact: bool) -> None:
        """The result is in its place, in a file of the same type."""
        request = img2img(inpaint_full_res=True, width=64, height=64)
        initial = prepare(request, png(100, 100, "red"), masked((100, 100), (40, 40, 60, 60)))
        assert initial.region is not None
        file = BytesIO()
        Image.new("RGB", (64, 64), "blue").save(file, kind)
        whole = open_image(initial.region.paste(file.getvalue()))
        assert (whole.format, whole.size) == (kind, (100, 100))
        middle, corner = colour(whole, (50, 50)), colour(whole, (5, 5))
        assert middle[2] > 200
        assert middle[0] < 50
        assert corner[0] > 200
        assert corner[2] < 50
        assert not exact or (middle, corner) == ((0, 0, 255), (255, 0, 0))


def test_transparent_parts_become_white() -> None:
    """Transparent parts of the image are white."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert open_image(prepare(img2img(), png_of(image), b"").image).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("sides", [(8192, 1), (1, 8192), (3, 1)])
def test_one_pixel_wide_images_are_resized(sides: tuple[int, int], mode: int) -> None:
    """An image with a side of one pixel can be resized to any size, in each mode."""
    assert resize(Image.new("RGB", sides), (512, 512), mode).size == (512, 512)
    assert prepare(img2img(resize_mode=mode, width=64, height=64), png_of(Image.new("RGB", sides)), b"").size == (
        64,
        64,
    )


def test_truncated_file_names_the_clients_key() -> None:
    """A truncated file is an error that names the client's key."""
    with pytest.raises(InvalidImage, match="'mask': is damaged"):
        prepare(img2img(), png(), png()[:60])
