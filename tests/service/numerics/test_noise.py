"""TorchNoise equals torch's random numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tintype.service.numerics import TorchNoise

# The first three numbers of each of six calls in a row to torch.randn, one generator per seed; torch 2.13.0, x86-64.
# The sizes: whole blocks of 16, one that 16 does not divide, and some below 16, odd ones included.
SHAPES = ((1, 4, 8, 8), (17,), (3,), (5,), (1, 16, 7, 9), (2, 2))
GOLDEN: dict[int, list[list[float]]] = {
    0: [
        [-1.12584, -1.15236, -0.2505786],
        [-0.03937254, 0.7073183, 0.5800481],
        [0.4083741, -0.8387145, 1.073804],
        [-0.6126106, 1.444581, 0.2037801],
        [-0.2162453, -0.4886754, 0.786956],
        [1.032572, 0.6850184, 0.9835604],
    ],
    42: [
        [1.926915, 1.487284, 0.9007172],
        [-0.6854816, 0.6258028, -2.58495],
        [-0.6662245, 0.6872846, 1.40909],
        [1.127769, -0.5950224, -1.446975],
        [-0.7139784, 0.8337291, -0.9585452],
        [0.9582682, 0.6175719, -0.1546264],
    ],
    123456789: [
        [0.2642554, -0.414899, -0.6075138],
        [-0.8463804, -3.03084, -0.2599534],
        [-0.9892518, 0.4310761, 1.152313],
        [0.7580155, -0.0007166954, 0.4788861],
        [-0.3887001, 0.1381544, -0.8188034],
        [0.02280336, 0.4292213, 0.3819407],
    ],
    4294967295: [
        [-2.664298, -1.091049, 0.4514474],
        [0.2730304, -0.3789068, -1.177083],
        [1.868221, -0.6756943, -0.6869382],
        [1.308, -1.561445, 1.51393],
        [-0.6379877, -1.178033, -0.1184685],
        [-0.2673914, -0.4504832, 2.168364],
    ],
    8589934597: [
        [1.84233, 0.5188872, -1.711921],
        [0.1949381, -0.3341541, -1.61543],
        [1.039649, 0.5564769, 0.3113411],
        [1.655291, -0.353515, 0.6220422],
        [-1.25703, -0.1336456, 0.1117209],
        [-0.9346026, -1.796967, 0.0187365],
    ],
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_equals_stored_numbers_of_torch(seed: int) -> None:
    """The stream matches stored numbers of torch, for every kind of size."""
    noise = TorchNoise(seed)
    for shape, golden in zip(SHAPES, GOLDEN[seed], strict=True):
        numbers = noise.normal(shape)
        assert numbers.shape == shape
        assert numbers.dtype == np.float32
        np.testing.assert_allclose(numbers.reshape(-1)[:3], golden, rtol=2e-6, atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("seed", [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**63 + 5, -1, -(2**40)])
def test_equals_the_installed_torch(seed: int) -> None:
    """Every number equals torch's within one rounding of float32's logarithm and cosine."""
    torch = pytest.importorskip("torch")
    generator, noise = torch.Generator("cpu").manual_seed(seed), TorchNoise(seed)
    for shape in (*SHAPES, (1, 4, 64, 64), (1,), (15,), (16,), (1, 16, 128, 128)):
        theirs = torch.randn(shape, generator=generator).numpy()
        np.testing.assert_allclose(noise.normal(shape), theirs, rtol=0, atol=2e-6)


@pytest.mark.torch
def test_half_precision_draws_the_same() -> None:
    """The noise of a float16 pipeline is this noise, rounded."""
    torch = pytest.importorskip("torch")
    generator, noise = torch.Generator("cpu").manual_seed(7), TorchNoise(7)
    for shape in ((1, 4, 64, 64), (1, 16, 24, 40)):
        theirs = torch.randn(shape, generator=generator, dtype=torch.float16).numpy().astype(np.float32)
        np.testing.assert_allclose(noise.normal(shape), theirs, rtol=2e-3, atol=2e-6)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_rows_equal_diffusers_list_of_generators() -> None:
    """The noise of seed + k is row k of the noise that diffusers draws for a list of generators."""
    torch = pytest.importorskip("torch")
    utils = pytest.importorskip("diffusers.utils.torch_utils")
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in (5, 6, 7)]
    theirs = utils.randn_tensor((3, 4, 8, 8), generator=generators).numpy()
    ours = np.stack([TorchNoise(seed).normal((4, 8, 8)) for seed in (5, 6, 7)])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_streams_are_independent() -> None:
    """Drawing from one stream does not advance another; equal seeds give equal streams."""
    first, second, other = TorchNoise(7), TorchNoise(7), TorchNoise(8)
    before = first.normal((4, 8, 8))
    other.normal((4, 8, 8))
    np.testing.assert_array_equal(before, second.normal((4, 8, 8)))
    np.testing.assert_array_equal(first.normal((3,)), second.normal((3,)))
    assert np.abs(before - TorchNoise(8).normal((4, 8, 8))).max() > 1


@settings(deadline=None)
@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 70))
def test_every_seed_and_size_is_supported(seed: int, size: int) -> None:
    """Any integer is a seed whose lower 32 bits count; any size works, and every number is finite."""
    numbers = TorchNoise(seed).normal((size,))
    assert numbers.shape == (size,)
    assert np.isfinite(numbers).all()
    np.testing.assert_array_equal(numbers, TorchNoise(seed % 2**32).normal((size,)))


def test_numbers_are_normally_distributed() -> None:
    """A million numbers have the first four moments of N(0, 1), within five standard errors."""
    numbers = TorchNoise(3).normal((1_000_000,)).astype(np.float64)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((numbers**power).mean() - moment) < 5 * spread / 1000
