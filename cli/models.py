"""`tintype models`: what a running service can serve, and what of it is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.v1 import image_service_pb2 as pb

from . import interrupt
from .errors import UserError
from .servers.serve import warn
from .service_client import connect
from .settings.sources import Sources
from .settings.values import format_size
from .text import columns

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence


STATES = {
    pb.MODEL_STATE_UNLOADED: "on disk",
    pb.MODEL_STATE_LOADING: "loading",
    pb.MODEL_STATE_LOADED: "loaded",
    pb.MODEL_STATE_FAILED: "failed",
}
HEADINGS = ("MODEL", "STATE", "FAMILY", "SIZE", "STEPS", "PROVIDER", "WEIGHTS", "")


def run(arguments: Namespace) -> int:
    """List the models, or load or unload one, and print the table."""
    warn()
    if arguments.action in ("load", "unload") and not arguments.name:
        raise UserError(f"{arguments.action} needs the name of a model: tintype models {arguments.action} NAME")
    if arguments.action == "list" and arguments.name:
        raise UserError(f"list takes no name; did you mean `tintype models load {arguments.name}`?")
    print(table(interrupt.run(_ask(arguments))))
    return 0


async def _ask(arguments: Namespace) -> Sequence[pb.Model]:
    async with connect(Sources.gather(vars(arguments))) as (stub, metadata):
        if arguments.action == "list":
            listed: pb.ListModelsResponse = await stub.ListModels(pb.ListModelsRequest(), metadata=metadata)
            return listed.models
        call, request = (
            (stub.LoadModel, pb.LoadModelRequest)
            if arguments.action == "load"
            else (stub.UnloadModel, pb.UnloadModelRequest)
        )
        return [(await call(request(model=arguments.name), metadata=metadata)).model]


def table(models: Iterable[pb.Model]) -> str:
    """The models as lines of columns; the default model is marked."""
    return columns([HEADINGS, *(_row(model) for model in models)])


def _row(model: pb.Model) -> tuple[str, ...]:
    sizes = [f"{size.width}x{size.height}" for size in model.native_sizes[:1]]
    return (
        model.name,
        STATES.get(model.state, "?"),
        model.family,
        *(sizes or ["-"]),
        str(model.defaults.steps),
        model.provider or "-",
        format_size(model.weights_bytes),
        model.error or ("default" if model.is_default else ""),
    )
