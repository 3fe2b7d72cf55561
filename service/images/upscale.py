"""A request to enlarge an image: its checks, and the enlarged image.

Colours are enlarged by `double`, a function that doubles the sides; an alpha channel is resampled by Lanczos.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tintype.v1 import image_header
from tintype.v1.image_parts import BadImage
from tintype.v1.limits import MAX_UPLOAD_PIXELS, MAX_UPLOAD_SIDE, UPSCALE_FACTORS

from ..errors import InvalidField
from .encode import Output, encode_image
from .upload import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from .encode import EncodedImage
    from .mark import Mark

    Double = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class UpscaleJob:
    """An image file to enlarge, by which factor, and how the result is encoded.

    Raises:
        InvalidField: the factor is not served, the file is not an image, or the result would be too large.
    """

    image: bytes = field(repr=False)
    factor: int = 2
    output: Output = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.factor not in UPSCALE_FACTORS:
            factors = " or ".join(map(str, UPSCALE_FACTORS))
            raise InvalidField("factor", f"must be {factors}, not {self.factor}")
        if not self.image:
            raise InvalidField("image", "must not be empty")
        try:
            width, height = image_header.check(self.image).size
        except BadImage as error:
            raise InvalidField("image", str(error)) from error
        pixels, side = width * height * self.factor**2, max(width, height) * self.factor
        if pixels > MAX_UPLOAD_PIXELS or side > MAX_UPLOAD_SIDE:
            most = f"at most {MAX_UPLOAD_PIXELS} pixels and {MAX_UPLOAD_SIDE} on a side"
            larger = f"{width * self.factor}x{height * self.factor}"
            raise InvalidField("image", f"must be smaller for factor {self.factor}: {most} are served, not {larger}")


def enlarge(job: UpscaleJob, double: Double, mark: Mark | None = None) -> EncodedImage:
    """Return the enlarged image of a job, encoded. Raises InvalidField, and the errors of `double`."""
    decoded = decode(job.image, "image")
    keeps_alpha = decoded.alpha is not None and job.output.mime_type != "image/jpeg"
    levels = np.asarray(decoded.image if keeps_alpha else decoded.on_white())
    factor = job.factor
    while factor > 1:
        levels, factor = double(levels), factor // 2
    image = Image.fromarray(levels)
    if keeps_alpha and decoded.alpha:
        image.putalpha(decoded.alpha.resize(image.size, Image.Resampling.LANCZOS))
    return encode_image(image, job.output, mark=mark)
