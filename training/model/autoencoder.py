"""The autoencoder: an encoder that is one exact convolution, and a decoder that begins as its linear inverse.

The latents are principal components of patches (`latents`), so that encoding is a single convolution of stride 16
with known weights; nothing about it is trained.
The decoder adds to the components' own blurred picture what a small residual network makes of their surroundings.
It works on the coarse grids and unfolds channels into pixels only at the end: nearest-neighbour upsampling, as in
diffusers' `AutoencoderKL`, could not tell the left half of a patch from its right half.
There is no normalisation: a decoder that has to give a background its exact colour must not divide by its contrast.

It has the interface of `AutoencoderKL`, so that `StableDiffusionPipeline` takes it.
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

from .latents import CHANNELS, PATCH, SHRINK, Components

# Channels where the picture is 256, 128, 64, 32 and 16 wide; diffusers reads the factor 16 off their number.
WIDTHS = (3, 24, 48, 64, 128)
BLOCKS = (1, 2, 2, 2)
# The latents have no spread of their own: its logarithm is as low as diffusers lets it be.
NO_SPREAD = -30.0


class Residual(nn.Module):
    """x plus two 3x3 convolutions of it; the second starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] to the same."""
        return x + self.conv2(functional.relu(self.conv1(x)))


class Unfold(nn.Module):
    """Twice as many pixels each way, `width` channels each."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, before, h, w] to [n, width, 2h, 2w]."""
        return functional.pixel_shuffle(self.conv(x), 2)


class Decoder(nn.Module):
    """Latents [n, c, h, w] to pixels [n, 3, 16h, 16w], about -1..1."""

    def __init__(self, channels: int = CHANNELS, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels, 3 * PATCH * PATCH, 1)
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, padding=1)
        layers: list[nn.Module] = []
        for level in range(len(widths) - 1, 0, -1):
            layers += [Residual(widths[level]) for _ in range(BLOCKS[level - 1])]
            layers.append(Unfold(widths[level], widths[level - 1]))
        self.layers = nn.Sequential(*layers)
        nn.init.zeros_(layers[-1].conv.weight)
        nn.init.zeros_(layers[-1].conv.bias)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [n, c, h, w] to pixels [n, 3, 16h, 16w]."""
        blurred = functional.pixel_shuffle(self.linear(latents), PATCH)
        enlarged = functional.interpolate(blurred, scale_factor=float(SHRINK), mode="bilinear", align_corners=False)
        return enlarged + self.layers(self.conv_in(latents))


class Encoder(nn.Module):
    """Pixels [n, 3, 16h, 16w] in -1..1 to means and log variances [n, 2c, h, w]."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.components = nn.Conv2d(3, channels, PATCH * SHRINK, stride=PATCH * SHRINK)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [n, 3, 16h, 16w] to [n, 2c, h, w]."""
        means = self.components(pixels)
        return torch.cat([means, torch.full_like(means, NO_SPREAD)], 1)


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Encoder and decoder behind the interface of diffusers' `AutoencoderKL`."""

    @register_to_config
    def __init__(
        self,
        latent_channels: int = CHANNELS,
        block_out_channels: tuple[int, ...] = WIDTHS,
        scaling_factor: float = 1.0,  # noqa: ARG002 - kept in the config
        sample_size: int = 256,  # noqa: ARG002 - kept in the config
        force_upcast: bool = False,  # noqa: ARG002, FBT001, FBT002 - likewise
    ) -> None:
        super().__init__()
        self.encoder = Encoder(latent_channels)
        self.decoder = Decoder(latent_channels, block_out_channels)

    @classmethod
    def of(cls, components: Components) -> PatchAutoencoder:
        """Not yet trained: the encoder is exact, the decoder as good as the components alone."""
        model = cls(latent_channels=components.basis.shape[1])
        basis, mean = torch.from_numpy(components.basis), torch.from_numpy(components.mean)
        with torch.no_grad():
            patch = basis.T.reshape(-1, 3, PATCH, PATCH) / SHRINK**2
            conv = model.encoder.components
            conv.weight.copy_(patch.repeat_interleave(SHRINK, 2).repeat_interleave(SHRINK, 3))
            conv.bias.copy_(-(mean @ basis))
            model.decoder.linear.weight.copy_(torch.from_numpy(components.inverse)[:, :, None, None])
            model.decoder.linear.bias.copy_(mean)
        return model

    def encode(self, pixels: Tensor, return_dict: bool = True) -> Any:  # noqa: FBT001, FBT002
        """As `AutoencoderKL.encode`: `latent_dist` of pixels [n, 3, 16h, 16w] in -1..1."""
        found = DiagonalGaussianDistribution(self.encoder(pixels))
        return AutoencoderKLOutput(latent_dist=found) if return_dict else (found,)

    def decode(self, latents: Tensor, return_dict: bool = True, generator: object = None) -> Any:  # noqa: ARG002, FBT001, FBT002
        """As `AutoencoderKL.decode`: `sample` [n, 3, 16h, 16w], about -1..1, of latents [n, c, h, w]."""
        decoded = self.decoder(latents)
        return DecoderOutput(sample=decoded) if return_dict else (decoded,)
