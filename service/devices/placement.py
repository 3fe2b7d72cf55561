"""Which device gets a request, and which one a model: pure functions of what is known about the devices.

- A request goes to a device that has its model, to the one with the least work left.
- A second device loads the model if all devices that have it are busy and the other one is idle and has free memory.
- A model that no device has goes to the device with the most free memory; if it fits nowhere, to the device that has to
  evict the fewest bytes that requests use.
- A request that waits in the queue of one device moves to a device that has become idle and has its model.

Work is the number of values that the denoiser still has to compute, times the bytes of its weights. It only compares
requests; it is not a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tintype.v1 import image_service_pb2 as pb

COPY_AT = 2
"""Requests on each device that has a model, from which on an idle device loads it, too."""


@dataclass(frozen=True, slots=True)
class Running:
    """A request on a device. `waiting` says that it has not begun there; `number` counts requests as they arrive."""

    number: int
    model: str
    work: float = 1.0
    waiting: bool = False
    priority: int = 0


@dataclass(frozen=True, slots=True)
class DeviceView:
    """What is known about one device.

    `models` are those in memory, or on their way into it, with their bytes; `failed` those that it could not load.
    `memory` is bytes for models, 0 without a limit; `last_use` grows with each request that the device gets.
    """

    name: str
    memory: int = 0
    models: Mapping[str, int] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    running: tuple[Running, ...] = ()
    last_use: int = 0

    @property
    def work(self) -> float:
        """The work of all its requests."""
        return sum(request.work for request in self.running)

    @property
    def free(self) -> float:
        """Bytes for further models without an eviction."""
        return self.memory - sum(self.models.values()) if self.memory else math.inf

    @property
    def reclaimable(self) -> float:
        """Bytes for further models if those without requests are evicted."""
        used = {request.model for request in self.running}
        return self.memory - sum(self.models.get(name, 0) for name in used) if self.memory else math.inf


def choose(model: str, size: int, devices: Sequence[DeviceView]) -> DeviceView:
    """Return the device for a request; `size` is the bytes of its model. `devices` must not be empty."""
    devices = [device for device in devices if model not in device.failed] or devices
    holders = [device for device in devices if model in device.models]
    if not holders:
        return place(size, devices)
    best = min(holders, key=_load)
    idle = [device for device in devices if not device.running and device not in holders and size <= device.free]
    return place(size, idle) if idle and all(len(holder.running) >= COPY_AT for holder in holders) else best


def place(size: int, devices: Sequence[DeviceView]) -> DeviceView:
    """Return the device that loads a model of `size` bytes. `devices` must not be empty."""
    roomy = [device for device in devices if size <= device.free]
    if roomy:
        return min(roomy, key=lambda device: (-device.free, *_load(device)))
    return min(devices, key=lambda device: (-device.reclaimable, *_load(device)))


def places_to_load(model: str, size: int, devices: Sequence[DeviceView]) -> list[DeviceView]:
    """Return the devices that load a model by request: those that have it, and those where it fits without an eviction.

    There is at least one. `devices` must not be empty.
    """
    chosen = [device for device in devices if model in device.models or size <= device.free]
    return chosen or [place(size, devices)]


def waiting_for(idle: DeviceView, others: Sequence[DeviceView]) -> Running | None:
    """Return the waiting request that an idle device takes over: of the highest priority, the oldest one."""
    if idle.running:
        return None
    waiting = [
        request
        for device in others
        if len(device.running) > 1
        for request in device.running
        if request.waiting and request.model in idle.models
    ]
    return min(waiting, key=lambda request: (-request.priority, request.number), default=None)


def bytes_of(model: pb.Model) -> int:
    """Return the bytes of a model in memory, or those on disk if the former are unknown."""
    return model.memory_bytes or model.weights_bytes


def work_of(request: pb.GenerateImagesRequest, model: pb.Model | None) -> float:
    """Return the work of a request on a model, positive also for invalid requests. Raises nothing."""
    defaults = model.defaults if model else None
    steps = request.steps or (defaults.steps if defaults else 0)
    width, height = request.width or (defaults.width if defaults else 0), request.height or 0
    height = height or (defaults.height if defaults else 0)
    guidance = request.guidance_scale if request.HasField("guidance_scale") else defaults and defaults.guidance_scale
    values = max(1, request.count) * max(1, steps) * max(1, width) * max(1, height) * (2 if (guidance or 0) > 1 else 1)
    return float(values) * max(1, bytes_of(model) if model else 1)


def _load(device: DeviceView) -> tuple[float, int, int]:
    return device.work, len(device.running), device.last_use
