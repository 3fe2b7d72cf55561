"""Fixtures for real clients: `tintype up` with the built-in model, in separate processes."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.support.up import up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.gateway.summary import ImageSummary


@pytest.fixture(scope="session")
def gateway_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a running gateway, without `/v1`."""
    with up(tmp_path_factory.mktemp("real")) as found:
        found.read_until("Ctrl-C stops both.")
        yield found.url


@pytest.fixture(scope="session")
def open_image() -> Callable[[bytes], ImageSummary]:
    """Open a file that must be an image with visible content."""

    def open_visible_image(data: bytes) -> ImageSummary:
        image = Image.open(BytesIO(data))
        assert np.ptp(np.asarray(image.convert("RGB")), axis=(0, 1)).max() > 50
        return str(image.format), image.size, image.mode

    return open_visible_image


@pytest.fixture(scope="session")
def lake() -> bytes:
    """An initial image, 128 x 64 pixels."""
    file = BytesIO()
    Image.radial_gradient("L").resize((128, 64)).convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def mask() -> bytes:
    """A mask that repaints the left half of the image: it is transparent there."""
    file = BytesIO()
    image = Image.new("RGBA", (128, 64), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 64, 64))
    image.save(file, "PNG")
    return file.getvalue()
