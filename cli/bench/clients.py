"""Clients of the bench: one image over gRPC or REST, with the time that it took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx

from tintype.v1 import image_service_pb2 as pb

from ..errors import UserError

if TYPE_CHECKING:
    from ..service_client import ServiceConnection

PROMPTS = (
    "A serene mountain lake at sunset",
    "A red house in a flower meadow",
    "A lighthouse by the sea at night",
    "A green forest under a blue sky",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: seconds from request to file, and, over gRPC, of encoding, denoising and decoding."""

    seconds: float
    encode: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0

    @property
    def outside(self) -> float:
        """Seconds in which none of the stages ran."""
        return self.seconds - self.encode - self.denoise - self.decode


class Client(Protocol):
    """A client of an image service."""

    async def image(self, steps: int, seed: int) -> Sample:
        """Make one image of the model's own size. The prompt follows from the seed, as the seed varies."""


@dataclass(frozen=True, slots=True)
class GrpcClient:
    """A client of the gRPC service."""

    connection: ServiceConnection
    model: str = ""

    async def image(self, steps: int, seed: int) -> Sample:
        """Make one image. Raises grpc's errors."""
        stub, metadata = self.connection
        request = pb.GenerateImagesRequest(model=self.model, prompt=prompt(seed), steps=steps, seed=seed)
        began = time.perf_counter()
        answer = await stub.GenerateImages(request, metadata=metadata)
        seconds = time.perf_counter() - began
        stages = (getattr(answer.timings, stage).ToMicroseconds() / 1e6 for stage in ("encode", "denoise", "decode"))
        return Sample(seconds, *stages)


@dataclass(frozen=True, slots=True)
class RestClient:
    """A client of the gateway, with OpenAI's JSON."""

    http: httpx.AsyncClient
    model: str = ""

    async def image(self, steps: int, seed: int) -> Sample:
        """Make one image. Raises UserError with the gateway's message."""
        body = {"prompt": prompt(seed), "n": 1, "steps": steps, "seed": seed, "response_format": "b64_json"}
        body |= {"model": self.model} if self.model else {}
        began = time.perf_counter()
        try:
            answer = await self.http.post("/v1/images/generations", json=body)
        except httpx.HTTPError as error:
            raise UserError(f"no image from {self.http.base_url}: {error or type(error).__name__}") from error
        if answer.is_error:
            raise UserError(f"no image from {self.http.base_url}: HTTP {answer.status_code}: {answer.text[:300]}")
        return Sample(time.perf_counter() - began)


def prompt(seed: int) -> str:
    """Return the prompt of a seed: some prompts are known to the service, as those of an application are."""
    return PROMPTS[seed % len(PROMPTS)]
