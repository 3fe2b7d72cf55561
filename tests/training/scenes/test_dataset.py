"""The training set on disk."""

from pathlib import Path

import numpy as np
import pytest

from tintype.training.scenes.captions import make_captions
from tintype.training.scenes.dataset import open_images, read_captions, render_pixels, write_dataset
from tintype.training.scenes.spec import make_spec


@pytest.mark.slow
def test_a_dataset_is_read_as_it_was_rendered(tmp_path: Path) -> None:
    """Captions and latents of all images are stored, and the first images, in the order of their seeds."""
    write_dataset(tmp_path, 2, 3, lambda images: images[:, 0, 0])
    np.testing.assert_array_equal(open_images(tmp_path), [render_pixels(seed) for seed in range(2)])
    np.testing.assert_array_equal(np.load(tmp_path / "latents.npy"), [render_pixels(seed)[0, 0] for seed in range(3)])
    assert read_captions(tmp_path) == [make_captions(make_spec(seed)) for seed in range(3)]


def test_images_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """A folder with `pictures.npy`, the former name of `images.npy`, is read."""
    images = np.zeros((1, 256, 256, 3), np.uint8)
    np.save(tmp_path / "pictures.npy", images)
    np.testing.assert_array_equal(open_images(tmp_path), images)
