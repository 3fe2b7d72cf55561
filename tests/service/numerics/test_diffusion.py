"""A model's own process."""

import pytest

from tests.support.numerics.configs import SD15, read


def test_a_diffusion_can_not_be_changed() -> None:
    """Rows share it."""
    diffusion = read(SD15, solver_order=2)
    with pytest.raises(ValueError, match="read-only"):
        diffusion.alphas_cumprod[0] = 0
    with pytest.raises(TypeError):
        diffusion.settings["order"] = 3  # type: ignore[index]
