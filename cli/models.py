"""`tintype models`: the models of a running service, and published models to try."""

from __future__ import annotations

from shutil import get_terminal_size
from typing import TYPE_CHECKING

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.replicas.union import merge_lists

from . import interrupt
from .available import WIDE, describe, overview
from .errors import UserError
from .service_client import connect_all
from .settings.sources import Sources, warn_of_unknown_variables
from .settings.values import format_size
from .terminal import format_table

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from .service_client import ServiceConnection

STATES = {
    pb.MODEL_STATE_UNLOADED: "on disk",
    pb.MODEL_STATE_LOADING: "loading",
    pb.MODEL_STATE_LOADED: "loaded",
    pb.MODEL_STATE_FAILED: "failed",
}
HEADINGS = ("MODEL", "STATE", "FAMILY", "SIZE", "STEPS", "PROVIDER", "WEIGHTS", "")
LIST_TIMEOUT = 10.0  # seconds
DEVICES = "DEVICES"  # a further column, if the service has several


def run(arguments: Namespace) -> int:
    """List the models, or load or unload one, and print them as a table. The default model is marked."""
    warn_of_unknown_variables()
    if arguments.action == "available":
        print(describe(arguments.name) if arguments.name else overview(get_terminal_size((WIDE, 24)).columns))
        return 0
    if arguments.action in ("load", "unload") and not arguments.name:
        raise UserError(f"{arguments.action} needs the name of a model: tintype models {arguments.action} NAME")
    if arguments.action == "list" and arguments.name:
        raise UserError(f"list takes no name; did you mean `tintype models load {arguments.name}`?")
    print(format_models(interrupt.run(_call_service(arguments))))
    return 0


def format_models(models: Sequence[pb.Model]) -> str:
    """Return models as a table, with a column for the devices that have them if the service has several."""
    rows = [HEADINGS, *map(_format_row, models)]
    if not any(model.devices for model in models):
        return format_table(rows)
    devices = [DEVICES, *(",".join(model.devices) or "-" for model in models)]
    return format_table([(*row[:-1], column, row[-1]) for row, column in zip(rows, devices, strict=True)])


async def _call_service(arguments: Namespace) -> Sequence[pb.Model]:
    """Call all replicas of the service and return the models of their responses, as those of one service."""

    async def call(connection: ServiceConnection) -> Sequence[pb.Model]:
        stub, metadata = connection
        if arguments.action == "load":
            return [(await stub.LoadModel(pb.LoadModelRequest(model=arguments.name), metadata=metadata)).model]
        if arguments.action == "unload":
            return [(await stub.UnloadModel(pb.UnloadModelRequest(model=arguments.name), metadata=metadata)).model]
        return (await stub.ListModels(pb.ListModelsRequest(), timeout=LIST_TIMEOUT, metadata=metadata)).models

    async with connect_all(Sources.gather(vars(arguments))) as replicas:
        found = await replicas.call_each(call)
    if len(found) == 1:
        return next(iter(found.values()))
    lists = {address: pb.ListModelsResponse(models=models) for address, models in found.items()}
    return merge_lists(lists).models


def _format_row(model: pb.Model) -> tuple[str, ...]:
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
