"""The fit of the upscaler: filters that are saved, read again, and better than Lanczos on what they were fitted to."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tintype.service.images.upscaler import Filters
from tintype.training.upscaler import fit
from tintype.training.upscaler.comparison import measure
from tintype.training.upscaler.samples import open_large_images, write_large_images


@pytest.mark.slow
def test_fitted_filters_are_read_as_they_were_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six images suffice for finite filters; files have half precision."""
    monkeypatch.setattr(fit, "ANCHORS", 8)
    write_large_images(tmp_path, 6)
    assert open_large_images(tmp_path).shape == (6, 512, 512, 3)
    filters = fit.fit_filters(tmp_path)
    fit.save_filters(filters, tmp_path / "filters.npz")
    read = Filters.load(tmp_path / "filters.npz")
    assert read.weights.shape == (1 + 8 * len(read.limits), 49, 4)
    np.testing.assert_allclose(read.weights, filters.weights, rtol=1e-3, atol=1e-3)


def test_a_comparison_measures_the_difference() -> None:
    """An exact copy has no error and the similarity 1."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    same = measure([image], Image.Resampling.BOX, lambda _: image)
    assert same.psnr > 100
    assert same.ssim == pytest.approx(1)
