"""The optimizer Muon: orthogonalized momentum for matrices, AdamW for all other parameters.

Keller Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024, with the update scaled to the size of
an Adam update as in Liu et al., "Muon is scalable for LLM training", 2025.
A convolution counts as a matrix whose rows are its output channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Coefficients of Jordan's quintic Newton-Schulz iteration: five rounds bring singular values to about 0.7..1.2.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5
# The root mean square of an update, like Adam's.
UPDATE_RMS = 0.2
# Matrices with a smaller side are left to AdamW.
SMALLEST_SIDE = 8


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return the matrix with singular values close to 1, by Newton-Schulz iterations."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = _iterate_gram(x) if x.shape[1] > 2.5 * x.shape[0] else _iterate_matrix(x)
    return x.T if tall else x


def _iterate_matrix(x: Tensor) -> Tensor:
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x


def _iterate_gram(x: Tensor) -> Tensor:
    """Evaluate the same polynomial on the small Gram matrix: 2.5 times cheaper for wide matrices."""
    gram, product = x @ x.T, None
    for round_ in range(ROUNDS):
        factor = B * gram + C * gram @ gram
        factor.diagonal().add_(A)
        product = factor if product is None else factor @ product
        if round_ + 1 < ROUNDS:
            gram = factor @ gram @ factor
    return product @ x


class Muon(torch.optim.Optimizer):
    """Muon with AdamW.

    `rate` is like Adam's, about 1e-3. Parameters whose name contains one of `excluded` are left to AdamW.
    """

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], rate: float, excluded: Sequence[str] = (), decay: float = 0.01
    ) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in named:
            plain = any(word in name for word in excluded) or not _is_matrix(parameter)
            (others if plain else matrices).append(parameter)
        groups = [{"params": matrices, "orthogonal": True}, {"params": others, "orthogonal": False}]
        super().__init__([group for group in groups if group["params"]], {"lr": rate, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            update = self._muon if group["orthogonal"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, group["lr"], group["decay"])

    def _muon(self, parameter: nn.Parameter, rate: float, decay: float, momentum: float = 0.95) -> None:
        state = self.state[parameter]
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        mean.lerp_(parameter.grad, 1 - momentum)
        matrix = parameter.grad.lerp(mean, momentum).reshape(parameter.shape[0], -1)
        update = orthogonalize(matrix) * UPDATE_RMS * max(matrix.shape) ** 0.5
        parameter.mul_(1 - rate * decay).add_(update.reshape(parameter.shape), alpha=-rate)

    def _adam(
        self, parameter: nn.Parameter, rate: float, _decay: float, first: float = 0.9, second: float = 0.98
    ) -> None:
        state = self.state[parameter]
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        square = state.setdefault("square", torch.zeros_like(parameter))
        state["count"] = count = state.get("count", 0) + 1
        mean.lerp_(parameter.grad, 1 - first)
        square.lerp_(parameter.grad**2, 1 - second)
        scale = (square / (1 - second**count)).sqrt_().add_(1e-8)
        parameter.addcdiv_(mean / (1 - first**count), scale, value=-rate)


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_SIDE
