"""The autoencoder: an encoder that is one exact convolution, and a decoder that starts as its linear inverse.

Latents are principal components of patches (`latents`), so encoding is one convolution of stride 16 with known weights.
The encoder is not trained.
The decoder adds the output of a small residual network to the blurred image that the components alone give.
It works on the coarse grids and unfolds channels into pixels only at the end: nearest-neighbour upsampling, as in
diffusers' `AutoencoderKL`, could not distinguish the left half of a patch from its right half.
There is no normalization: a decoder that must reproduce the exact colour of a background must not divide by its
contrast.

`PatchAutoencoder` has the interface of `AutoencoderKL`, so that `StableDiffusionPipeline` accepts it.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from .latents import CHANNELS, PATCH, SHRINK, PatchBasis

# Channels at the resolutions 256, 128, 64, 32 and 16; diffusers computes the factor 16 from their number.
WIDTHS = (3, 24, 48, 64, 128)
# Residual blocks at the resolutions 128, 64, 32 and 16. Those at 16 see much of the image and cost little time.
BLOCKS = (1, 2, 4, 3)
# The blocks of models that do not state them.
FORMER_BLOCKS = (1, 2, 2, 2)
# The latents are exact: the logarithm of their variance is the lowest that diffusers allows.
LOG_VARIANCE = -30.0


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose output is added to the input; the second starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, width, h, w] to the same shape."""
        return x + self.conv2(functional.relu(self.conv1(x)))


class UnfoldBlock(nn.Module):
    """A convolution whose channels are unfolded into twice the height and width."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, before, h, w] to [n, width, 2h, 2w]."""
        return functional.pixel_shuffle(self.conv(x), 2)


class Decoder(nn.Module):
    """The decoder from latents to pixels."""

    def __init__(
        self, channels: int = CHANNELS, widths: tuple[int, ...] = WIDTHS, blocks: tuple[int, ...] = BLOCKS
    ) -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels, 3 * PATCH * PATCH, 1)
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, padding=1)
        layers: list[nn.Module] = []
        for level in range(len(widths) - 1, 0, -1):
            layers += [ResidualBlock(widths[level]) for _ in range(blocks[level - 1])]
            layers.append(UnfoldBlock(widths[level], widths[level - 1]))
        self.layers = nn.Sequential(*layers)
        nn.init.zeros_(layers[-1].conv.weight)
        nn.init.zeros_(layers[-1].conv.bias)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents [n, c, h, w] to pixels [n, 3, 16h, 16w], about -1..1."""
        blurred = functional.pixel_shuffle(self.linear(latents), PATCH)
        enlarged = functional.interpolate(blurred, scale_factor=float(SHRINK), mode="bilinear", align_corners=False)
        return enlarged + self.layers(self.conv_in(latents))


class Encoder(nn.Module):
    """The encoder from pixels to latents."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.components = nn.Conv2d(3, channels, PATCH * SHRINK, stride=PATCH * SHRINK)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels [n, 3, 16h, 16w] in -1..1 to means and log variances [n, 2c, h, w]."""
        means = self.components(pixels)
        return torch.cat([means, torch.full_like(means, LOG_VARIANCE)], 1)


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Encoder and decoder with the interface of diffusers' `AutoencoderKL`."""

    @register_to_config
    def __init__(
        self,
        latent_channels: int = CHANNELS,
        block_out_channels: tuple[int, ...] = WIDTHS,
        residual_blocks: tuple[int, ...] = FORMER_BLOCKS,
        scaling_factor: float = 1.0,  # noqa: ARG002 - kept in the config
        sample_size: int = 256,  # noqa: ARG002 - kept in the config
        force_upcast: bool = False,  # noqa: ARG002, FBT001, FBT002 - likewise
    ) -> None:
        super().__init__()
        self.encoder = Encoder(latent_channels)
        self.decoder = Decoder(latent_channels, block_out_channels, residual_blocks)

    @classmethod
    def from_basis(cls, patches: PatchBasis) -> PatchAutoencoder:
        """Return an untrained autoencoder: the encoder is exact, the decoder is the linear inverse."""
        model = cls(latent_channels=patches.basis.shape[1], residual_blocks=BLOCKS)
        basis, mean = torch.from_numpy(patches.basis), torch.from_numpy(patches.mean)
        with torch.no_grad():
            patch = basis.T.reshape(-1, 3, PATCH, PATCH) / SHRINK**2
            conv = model.encoder.components
            conv.weight.copy_(patch.repeat_interleave(SHRINK, 2).repeat_interleave(SHRINK, 3))
            conv.bias.copy_(-(mean @ basis))
            model.decoder.linear.weight.copy_(torch.from_numpy(patches.inverse)[:, :, None, None])
            model.decoder.linear.bias.copy_(mean)
        return model

    def encode(self, pixels: Tensor, return_dict: bool = True) -> Any:  # noqa: FBT001, FBT002
        """Encode pixels [n, 3, 16h, 16w] in -1..1 to `latent_dist`, like `AutoencoderKL.encode`."""
        distribution = DiagonalGaussianDistribution(self.encoder(pixels))
        return AutoencoderKLOutput(latent_dist=distribution) if return_dict else (distribution,)

    def decode(self, latents: Tensor, return_dict: bool = True, generator: object = None) -> Any:  # noqa: ARG002, FBT001, FBT002
        """Decode latents [n, c, h, w] to `sample` [n, 3, 16h, 16w], about -1..1, like `AutoencoderKL.decode`."""
        decoded = self.decoder(latents)
        return DecoderOutput(sample=decoded) if return_dict else (decoded,)
