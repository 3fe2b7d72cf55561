"""Diffusion in torch, and the distillation to four steps."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.denoiser_training import ConditionedDenoiser  # noqa: E402
from tintype.training.distillation import GUIDANCE, STEPS, Distillation, Teacher  # noqa: E402
from tintype.training.model.networks import make_noise_schedule  # noqa: E402
from tintype.training.sampling import END, Diffusion, Sampler, list_grid  # noqa: E402
from tintype.training.training_loop import ComputeDevice  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize("steps", [4, 20])
def test_the_grid_is_that_of_diffusers(steps: int) -> None:
    """Sampling uses the timesteps of diffusers' trailing spacing."""
    schedule = make_noise_schedule()
    schedule.set_timesteps(steps)
    assert list_grid(steps, CPU).tolist() == [*schedule.timesteps.tolist(), END]


def test_find_v_inverts_a_step() -> None:
    """The v that is found leads to the given end, from every timestep of the grid, pure noise included."""
    diffusion, grid = Diffusion.on(CPU), list_grid(STEPS, CPU)
    x, end = torch.randn(2, STEPS, 16, 4, 4)
    v = diffusion.find_v(x, end, grid[:-1], grid[1:])
    torch.testing.assert_close(diffusion.step(x, v, grid[:-1], grid[1:]), end, rtol=1e-4, atol=1e-4)


class PointDenoiser:
    """The exact denoiser of data that are all `place` with a prompt, and 0 without."""

    def __init__(self, place: float) -> None:
        self.place, self.diffusion = place, Diffusion.on(CPU)

    def eval(self) -> Any:
        return self

    def requires_grad_(self, *, requires_grad: bool) -> Any:
        assert not requires_grad
        return self

    def text_encoder(self, ids: Any) -> list[Any]:
        return [ids[:, :1, None].float()]

    def unet(self, x: Any, timestep: Any, embeds: Any) -> Any:
        alpha, sigma = self.diffusion.scales(timestep)
        return SimpleNamespace(sample=(alpha * x - self.place * embeds.view(-1, 1, 1, 1)) / sigma)


def test_the_teacher_arrives_where_guidance_leads() -> None:
    """Four walks from noise end at the place of the prompt, moved away from that without a prompt."""
    diffusion, grid = Diffusion.on(CPU), list_grid(STEPS, CPU)
    point: Any = PointDenoiser(0.5)
    teacher = Teacher(point, torch.zeros(8, dtype=torch.long), diffusion)
    embeds, x = teacher.encode(torch.ones(2, 8, dtype=torch.long)), torch.randn(2, 16, 4, 4)
    for now, then in itertools.pairwise(grid):
        x = teacher.walk(x, now.expand(2), then.expand(2), embeds)
    torch.testing.assert_close(x, torch.full_like(x, GUIDANCE * 0.5), rtol=1e-3, atol=1e-3)


def test_sampling_arrives_at_the_data() -> None:
    """All steps of a sampler with an exact denoiser give the data; fewer leave noise."""
    point: Any = PointDenoiser(0.5)
    sampler, ids = Sampler(point, CPU), torch.ones(1, 8, dtype=torch.long)
    noise = torch.randn(1, 16, 4, 4)
    torch.testing.assert_close(sampler.sample(ids, noise, STEPS), torch.full_like(noise, 0.5), rtol=1e-3, atol=1e-3)
    assert sampler.sample(ids, noise, STEPS, 3).std() > 0.1


class FakeTokenizer:
    """The part of a tokenizer that the text encoder needs."""

    model_max_length, bos_token_id, eos_token_id, pad_token_id = 32, 0, 1, 1

    def __len__(self) -> int:
        return 40


def test_every_part_of_a_batch_teaches_the_student() -> None:
    """The loss is finite, and its gradient reaches the denoiser and the text encoder, but not the teacher."""
    torch.manual_seed(0)
    student, other = (ConditionedDenoiser.untrained(FakeTokenizer()) for _ in range(2))
    for network in (student, other):
        ComputeDevice.from_name("cpu").move(network)
        for parameter in network.unet.parameters():
            if not parameter.any():  # branches start at zero, and no gradient passes them
                torch.nn.init.normal_(parameter, std=0.1)
    draw = (torch.randn(8, 16, 16, 16), torch.randint(0, 40, (8, 32)))
    batches: Any = SimpleNamespace(draw=lambda: draw, device=CPU)
    teacher = Teacher(other, torch.ones(32, dtype=torch.long), Diffusion.on(CPU))
    loss, count = Distillation(student, teacher, batches, 8)()
    loss.backward()
    assert count == 8
    assert torch.isfinite(loss)
    assert student.unet.conv_out.weight.grad.abs().sum() > 0
    assert student.text_encoder.get_input_embeddings().weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in other.parameters())
