"""A real service whose model sleeps for a profile's seconds instead of computing, as if a device computed.

    python bench/capacity/sleeping.py PROFILE.json serve --grpc 127.0.0.1:0 ...

So other programs on the machine's cores change its times little, and everything but the model is real.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from capacity.profiles import Profile, read_profile
from tintype.cli.commands import run
from tintype.service.models.pipeline.pipeline import DiffusionModel

if TYPE_CHECKING:
    from collections.abc import Callable


def slow_down(profile: Profile, model: type[Any] = DiffusionModel) -> None:
    """Replace what the model computes."""
    encode: Callable[..., Any] = model.encode

    def sleep_and_encode(self: Any, *arguments: Any) -> Any:
        time.sleep(profile.encode)
        return encode(self, *arguments)

    def denoise(_: Any, latents: Any, *__: Any) -> Any:
        time.sleep(profile.call(len(latents), len(latents)))
        return np.zeros_like(latents)

    def decode(self: Any, latents: Any) -> Any:
        time.sleep(profile.decode)
        height, width = (side * self.spec.downscale for side in latents.shape[2:])
        return np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (len(latents), 3, height, width))

    model.encode, model.denoise, model.decode = sleep_and_encode, denoise, decode


if __name__ == "__main__":
    slow_down(read_profile(Path(sys.argv[1])))
    sys.exit(run(sys.argv[2:]))
