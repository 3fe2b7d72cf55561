"""The trained process of a model."""

import pytest

from tests.support.numerics.configs import SD15, read


def test_a_diffusion_is_immutable() -> None:
    """Rows share a diffusion, so its arrays and settings are read-only."""
    diffusion = read(SD15, solver_order=2)
    with pytest.raises(ValueError, match="read-only"):
        diffusion.alphas_cumprod[0] = 0
    with pytest.raises(TypeError):
        diffusion.sampler_settings["order"] = 3  # type: ignore[index]
