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
from tintype.v1.image_texts import KEY, read_texts
from tintype.v1.limits import MAX_UPLOAD_PIXELS, MAX_UPLOAD_SIDE, UPSCALE_FACTORS

from ..errors import InvalidRequest, Violation
from .encode import Output, encode_image
from .metadata import RecordedText
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
        InvalidRequest: the factor is not served, the file is not an image, or the result would be too large.
    """

    image: bytes = field(repr=False)
    factor: int = 2
    output: Output = field(default_factory=Output)

    def __post_init__(self) -> None:
        problems = {"factor": self._factor_problem(), "image": self._image_problem()}
        faults = [Violation(name, problem) for name, problem in problems.items() if problem]
        if faults:
            raise InvalidRequest(faults)

    def _factor_problem(self) -> str:
        factors = " or ".join(map(str, UPSCALE_FACTORS))
        return "" if self.factor in UPSCALE_FACTORS else f"must be {factors}, not {self.factor}"

    def _image_problem(self) -> str:
        if not self.image:
            return "must not be empty"
        try:
            width, height = (side * self.factor for side in image_header.check(self.image).size)
        except BadImage as error:
            return str(error)
        if width * height <= MAX_UPLOAD_PIXELS and max(width, height) <= MAX_UPLOAD_SIDE:
            return ""
        most = f"at most {MAX_UPLOAD_PIXELS} pixels and {MAX_UPLOAD_SIDE} on a side"
        return f"must be smaller for factor {self.factor}: {most} are served, not {width}x{height}"


def enlarge(job: UpscaleJob, double: Double, mark: Mark | None = None) -> EncodedImage:
    """Return the enlarged image of a job, encoded, with the text by which the file records how it was made.

    Raises InvalidField, and the errors of `double`.
    """
    decoded = decode(job.image, "image")
    keeps_alpha = decoded.alpha is not None and job.output.mime_type != "image/jpeg"
    levels = np.asarray(decoded.image if keeps_alpha else decoded.on_white())
    factor = job.factor
    while factor > 1:
        levels, factor = double(levels), factor // 2
    image = Image.fromarray(levels)
    if keeps_alpha and decoded.alpha:
        image.putalpha(decoded.alpha.resize(image.size, Image.Resampling.LANCZOS))
    text = read_texts(job.image).get(KEY, "") if job.output.metadata else ""
    return encode_image(image, job.output, parameters=RecordedText(text) if text else None, mark=mark)
