"""Places of tokens."""

from __future__ import annotations

from tintype.service.models.position_ids import flux2_ids, flux_ids, grid_ids, longcat_ids, ovis_ids, qwen_ids


def test_a_grid_counts_rows_and_columns() -> None:
    """Row by row: the first number, row and column, and zeros in further columns."""
    assert grid_ids((2, 3), columns=4, first=5).tolist() == [
        [5, row, column, 0] for row in (0, 1) for column in range(3)
    ]


def test_flux_numbers_its_images() -> None:
    """The image is 0 and references are 1, 2, ...; each has rows and columns of its own; text has zeros."""
    image, text = flux_ids([(2, 1), (1, 2), (1, 1)], 3)
    assert image.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1], [2, 0, 0]]
    assert text.tolist() == [[0, 0, 0]] * 3


def test_ovis_counts_words_on_the_diagonal() -> None:
    """Images as those of FLUX.1; words have their number twice."""
    image, text = ovis_ids([(2, 1)], 3)
    assert image.tolist() == [[0, 0, 0], [0, 1, 0]]
    assert text.tolist() == [[0, 0, 0], [0, 1, 1], [0, 2, 2]]


def test_longcat_counts_images_behind_the_text() -> None:
    """Images are numbered from 1; their rows and columns begin where the words end."""
    image, text = longcat_ids([(1, 2), (2, 1)], 3)
    assert image.tolist() == [[1, 3, 3], [1, 3, 4], [2, 3, 3], [2, 4, 3]]
    assert text.tolist() == [[0, 0, 0], [0, 1, 1], [0, 2, 2]]


def test_flux2_counts_images_by_ten_and_words_by_one() -> None:
    """The image is 0 and references are 10, 20, ...; the last column counts the words, and is 0 for images."""
    image, text = flux2_ids([(2, 1), (1, 2), (1, 1)], 3)
    assert image.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [10, 0, 0, 0], [10, 0, 1, 0], [20, 0, 0, 0]]
    assert text.tolist() == [[0, 0, 0, word] for word in range(3)]


def test_qwen_counts_from_the_middle() -> None:
    """Rows and columns of each image have signs; the text follows on the diagonal, behind the longest half of all."""
    image, text = qwen_ids([(2, 3), (1, 4)], 2)
    assert image[:6].tolist() == [[0, row, column] for row in (-1, 0) for column in (-2, -1, 0)]
    assert image[6:].tolist() == [[1, -1, column] for column in (-2, -1, 0, 1)]
    assert text.tolist() == [[2] * 3, [3] * 3]
