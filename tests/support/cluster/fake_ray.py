"""What replicas use of Ray, without Ray: the context of a call, and the part of `ray.serve` that a replica imports."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc
    import pytest

CLUSTER = "tintype.cluster"


@dataclass
class FakeContext:
    """A context as Ray's: it keeps what a call sets."""

    metadata: list[tuple[str, str]] = field(default_factory=list)
    code: grpc.StatusCode | None = None
    details: str = ""
    trailing: list[tuple[str, Any]] = field(default_factory=list)

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self.metadata

    def peer(self) -> str:
        return "ipv4:10.0.0.7:4242"

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, Any]]) -> None:
        self.trailing = [] + trailing_metadata  # noqa: RUF005  # as Ray does: it must be a list


@dataclass
class FakeServe:
    """`ray.serve` of one replica; `model` is the id of the call that runs, `announced` are those that it has."""

    model: str = ""
    announced: list[str] = field(default_factory=list)

    def get_multiplexed_model_id(self) -> str:
        return self.model

    def multiplexed(self, *, max_num_models_per_replica: int) -> Callable[..., Any]:
        assert max_num_models_per_replica == -1 or max_num_models_per_replica > 0

        def decorate(load: Callable[[str], Awaitable[Any]]) -> Callable[[str], Awaitable[Any]]:
            load.wrapper = self  # type: ignore[attr-defined]  # Ray sets an attribute, which methods don't have

            async def announce(name: str) -> Any:
                self.announced.append(name)
                return await load(name)

            return announce

        return decorate


def import_replica(monkeypatch: pytest.MonkeyPatch, serve: FakeServe) -> ModuleType:
    """Import `tintype.cluster.replica` with `serve` in place of `ray.serve`."""
    fake = ModuleType("ray")
    fake.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace())
    monkeypatch.delitem(sys.modules, f"{CLUSTER}.replica", raising=False)
    module = import_module(f"{CLUSTER}.replica")
    monkeypatch.delitem(sys.modules, f"{CLUSTER}.replica")
    return module
