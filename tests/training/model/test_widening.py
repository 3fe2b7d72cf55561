"""A UNet that is widened does what the narrow one did, and its new channels learn something of their own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from diffusers import UNet2DConditionModel  # noqa: E402

from tintype.training.model.networks import BLOCKS, WIDTH, make_unet  # noqa: E402
from tintype.training.model.widening import widen_unet  # noqa: E402

pytestmark = pytest.mark.torch


def narrow_unet(*blocks: int) -> UNet2DConditionModel:
    """Return a UNet of other widths, with random weights everywhere."""
    torch.manual_seed(0)
    config = {**make_unet().config, "block_out_channels": blocks, "time_embedding_dim": None}
    return UNet2DConditionModel.from_config(config).eval()


def test_a_widened_unet_gives_nearly_the_same() -> None:
    """Only two normalizations see other groups of channels, so the outputs agree but for a few per cent."""
    narrow = narrow_unet(BLOCKS[0] // 2, *BLOCKS[1:])
    wide = widen_unet(narrow).eval()
    inputs = torch.randn(4, 16, 16, 16), torch.tensor([9, 300, 650, 999]), torch.randn(4, 32, WIDTH)
    with torch.no_grad():
        before, after = narrow(*inputs).sample, wide(*inputs).sample
    assert (after - before).norm() < 0.1 * before.norm()
    assert wide.config.block_out_channels == BLOCKS


def test_copies_learn_different_things() -> None:
    """The two copies of a channel get different gradients."""
    wide = widen_unet(narrow_unet(BLOCKS[0] // 2, *BLOCKS[1:]))
    wide(
        torch.randn(2, 16, 16, 16), torch.tensor([9, 650]), torch.randn(2, 32, WIDTH)
    ).sample.square().mean().backward()
    gradient = wide.conv_in.weight.grad.flatten(1)
    assert (gradient[::2] - gradient[1::2]).norm() > 0.1 * gradient.norm()


def test_other_widths_are_refused() -> None:
    """A UNet whose lower levels differ cannot be widened."""
    with pytest.raises(ValueError, match=r"widths \(64, 64, 128\) cannot be widened"):
        widen_unet(narrow_unet(64, 64, 128))
