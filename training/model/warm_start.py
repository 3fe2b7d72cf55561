"""Warm start: turn a packed model folder back into the networks that training continues from.

The weights come from the graphs' initializers, which are float16.
The principal components come from the encoder: its weights are exact, whereas the decoder's linear part was trained.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from .autoencoder import Decoder, PatchAutoencoder, ResidualBlock
from .latents import PATCH, SHRINK, PatchBasis
from .networks import make_text_encoder
from .pack import load_torch_pipeline
from .tokenizer import former_pieces

if TYPE_CHECKING:
    from pathlib import Path

# The tokenizer of the packed model; `tokenizer` may grow from it.
FORMER_TOKENIZER = "former_tokenizer"


def unpack(folder: Path, out: Path) -> None:
    """Write the networks of the packed model in `folder` to `out`, in diffusers' layout, with components.npz."""
    pipeline = load_torch_pipeline(folder)
    pipeline.text_encoder.save_pretrained(out / "text_encoder")
    pipeline.unet.save_pretrained(out / "unet")
    pipeline.vae.save_pretrained(out / "vae")
    recover_basis(pipeline.vae).save(out / "components.npz")
    for name in (FORMER_TOKENIZER, "tokenizer"):
        shutil.copytree(folder / "tokenizer", out / name, dirs_exist_ok=True)


def recover_basis(vae: PatchAutoencoder) -> PatchBasis:
    """Return the principal components that the encoder of `vae` computes.

    Of all mean patches that give the encoder's bias, the one nearest to the decoder's is returned.
    """
    conv = vae.encoder.components
    patch = conv.weight.detach()[:, :, ::SHRINK, ::SHRINK].double().numpy() * SHRINK**2
    basis = patch.reshape(len(patch), 3 * PATCH * PATCH).T
    mean = vae.decoder.linear.bias.detach().double().numpy()
    mean = mean - np.linalg.pinv(basis.T) @ (conv.bias.detach().numpy() + mean @ basis)
    inverse = np.linalg.pinv(basis).T
    return PatchBasis(*(array.astype(np.float32) for array in (mean, basis, inverse)))


def grow_text_encoder(model: CLIPTextModel, former: Path, tokenizer_folder: Path) -> CLIPTextModel:
    """Return `model` with the vocabulary of a larger tokenizer.

    A new token starts as the mean of the tokens of the tokenizer in `former` that it consists of.
    """
    grown = make_text_encoder(CLIPTokenizer.from_pretrained(tokenizer_folder))
    weights, name = dict(model.state_dict()), "embeddings.token_embedding.weight"
    key = next(own for own in weights if own.endswith(name))
    pieces = former_pieces(former, tokenizer_folder)
    weights[key] = torch.stack([weights[key][ids].mean(0) for ids in pieces])
    grown.load_state_dict(weights)
    return grown


def copy_decoder(smaller: Decoder, larger: Decoder) -> None:
    """Copy the weights of a decoder into one with more residual blocks, which start at zero and change nothing."""
    with torch.no_grad():
        larger.linear.load_state_dict(smaller.linear.state_dict())
        larger.conv_in.load_state_dict(smaller.conv_in.state_dict())
        for source, target in zip(_split_levels(smaller), _split_levels(larger), strict=True):
            blocks, unfold = source[:-1], source[-1]
            for block, own in zip(blocks, target[: len(blocks)], strict=True):
                own.load_state_dict(block.state_dict())
            target[-1].load_state_dict(unfold.state_dict())


def _split_levels(decoder: Decoder) -> list[list[torch.nn.Module]]:
    """Return the layers of each resolution: residual blocks, then the one that unfolds."""
    levels: list[list[torch.nn.Module]] = [[]]
    for layer in decoder.layers:
        levels[-1].append(layer)
        if not isinstance(layer, ResidualBlock):
            levels.append([])
    return levels[:-1]
