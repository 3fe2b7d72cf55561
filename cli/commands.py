"""The commands. What one does stands in the module that its row names, which is imported when it is run."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent
from typing import TYPE_CHECKING

from . import flags

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its line in the overview, the module whose `run` does it, its flags, and examples."""

    help: str
    module: str
    add_flags: Callable[[ArgumentParser], None]
    examples: str

    @property
    def epilog(self) -> str:
        """The examples, as `--help` shows them."""
        return "examples:\n" + indent(dedent(self.examples).strip(), "  ")


COMMANDS = {
    "up": Command(
        "start service and gateway here, until Ctrl-C",
        "servers.up",
        flags.up,
        """
        tintype up
        tintype up --model ~/models/sdxl --model ~/models/flux --memory 6GiB
        tintype keys create alice && tintype up --rest 0.0.0.0:8080
        tintype up --check && echo "it works here"
        """,
    ),
    "serve": Command(
        "start the gRPC service alone",
        "servers.serve",
        flags.serve,
        """
        tintype serve --grpc 0.0.0.0:50051 --model ~/models/sdxl --provider tensorrt --provider cuda
        TINTYPE_MODELS=~/models/sdxl TINTYPE_MEMORY=6GiB tintype serve
        """,
    ),
    "gateway": Command(
        "start the REST gateway alone",
        "servers.serve",
        flags.gateway,
        """
        tintype gateway --rest 0.0.0.0:8080 --grpc gpu-box:50051 --keys /etc/tintype/keys
        TINTYPE_SERVICE_KEY=tt-... tintype gateway --grpc gpu-box:50051 --tls-ca ca.pem
        """,
    ),
    "generate": Command(
        "make pictures and save them",
        "generate",
        flags.generate,
        """
        tintype generate "A serene mountain lake at sunset" -o lake.png
        tintype generate "A lighthouse" --size 256x256 --steps 20 --seed 7 --count 4 -o lighthouse.webp
        tintype generate "A lighthouse" --grpc gpu-box:50051 --model sdxl
        tintype generate "A lighthouse" -q -o - | convert - -resize 50% small.png
        """,
    ),
    "models": Command(
        "list, load and unload the models of a running service",
        "models",
        flags.models,
        """
        tintype models
        tintype models load sdxl --grpc gpu-box:50051
        TINTYPE_SERVICE_KEY=tt-... tintype models unload sdxl
        """,
    ),
    "keys": Command(
        "create, list and revoke the keys of clients, over REST and gRPC",
        "keys",
        flags.keys,
        """
        tintype keys create alice
        tintype keys create bob --requests 30 --images 60 --model sdxl --priority -10
        tintype keys create ops --admin
        tintype keys
        tintype keys revoke alice
        """,
    ),
}
# `export` reads its own flags: they belong to the part of the house that has torch.
EXPORT = "export"
EXPORT_HELP = "make a model folder from a checkpoint (needs torch)"
