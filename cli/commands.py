"""The commands of `tintype`: their flags, help and examples.

A command's module is imported only when it runs, so that `tintype --help` is fast. Values of flags stay text here.
"""

from __future__ import annotations

from argparse import SUPPRESS
from dataclasses import dataclass
from importlib import import_module
from textwrap import dedent, indent
from typing import TYPE_CHECKING

from .generation.flags import LOADING, add_generate
from .key_flags import add_action_and_name, add_keys, add_usage
from .parser import Parser, VersionAction
from .settings.definitions import SECTIONS, settings_of
from .settings.flags import add_cluster, add_config, add_section, add_service, add_setting

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Sequence

DESCRIPTION = """\
Self-hosted image generation: a gRPC service for diffusion models, and a REST gateway that speaks OpenAI's JSON.

  tintype up                                                start both, with the built-in model
  tintype up --model stabilityai/sd-turbo                   start both, with a model of the Hugging Face hub
  tintype generate "A serene mountain lake" -o lake.png     make an image, without a server
  tintype COMMAND --help                                    all flags of a command, with examples
"""
EPILOG = """\
Every setting is a flag, an environment variable and a line of tintype.toml, in this order of precedence:
  --memory 6GiB          TINTYPE_MEMORY=6GiB          memory = "6GiB"
"""
EXPORT = "export"  # parses its own flags
SERVICE, GATEWAY = settings_of(SECTIONS["service"]), settings_of(SECTIONS["gateway"])


def run(argv: Sequence[str]) -> int:
    """Run a command line and return its exit code. Raises UserError."""
    if argv and argv[0] == EXPORT:
        return int(import_module("tintype.export").main(list(argv[1:])))
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    return int(import_module(COMMANDS[arguments.command].module, __package__).run(arguments))


def build_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(prog="tintype", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=VersionAction, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", title="commands")
    owners = _flag_owners()
    for name, command in COMMANDS.items():
        command.add_flags(
            commands.add_parser(name, help=command.help, description=command.help, epilog=command.epilog, owners=owners)
        )
    commands.add_parser(EXPORT, help="make a model folder from a checkpoint (needs torch)", add_help=False)
    return parser


def _flag_owners() -> dict[str, list[str]]:
    """Return the commands that each setting belongs to, by flag."""
    owners: dict[str, list[str]] = {}
    for command, settings in (("serve", SERVICE), ("gateway", GATEWAY)):
        for setting in settings.values():
            owners.setdefault(setting.flag, []).append(command)
    return owners


def _add_up(parser: ArgumentParser) -> None:
    first = "make this image through REST as soon as both servers are ready"
    parser.add_argument("--first-image", metavar="PROMPT", help=first)
    parser.add_argument("--first-picture", dest="first_image", help=SUPPRESS)  # the flag's former name
    output = "file of the first image, a PNG (default: first-image.png)"
    parser.add_argument("-o", "--output", metavar="FILE", help=output)
    check = "start, make one image through REST, stop; exit code 0 means success"
    parser.add_argument("--check", action="store_true", help=check)
    _add_server_flags(parser)
    add_section(parser.add_argument_group("service"), "service")
    add_section(parser.add_argument_group("gateway"), "gateway", without=SERVICE)


def _add_serve(parser: ArgumentParser) -> None:
    _add_server_flags(parser)
    add_section(parser, "service")


def _add_gateway(parser: ArgumentParser) -> None:
    _add_server_flags(parser)
    add_section(parser, "gateway")


def _add_server_flags(parser: ArgumentParser) -> None:
    """Add the flags of all commands that start a server."""
    print_config = "print the effective settings with their sources, and exit"
    parser.add_argument("--print-config", action="store_true", help=print_config)
    add_config(parser)


def _add_bench(parser: ArgumentParser) -> None:
    what = "folder, .safetensors file or OWNER/NAME; the name of a model of a running service (default: its default)"
    parser.add_argument("model", metavar="MODEL", nargs="?", help=what)
    seconds = "time for all measurements, 2 to 3600 (default: 60)"
    parser.add_argument("--seconds", metavar="X", default="60", help=seconds)
    steps = "denoising steps; may be repeated (default: the model's own, and 20)"
    parser.add_argument("--steps", metavar="N", action="append", help=steps)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show what is being measured")
    service, local = parser.add_argument_group("running service"), parser.add_argument_group("service of its own")
    url = "address of a running gateway, for example http://127.0.0.1:8080; with --grpc, to measure what it adds"
    service.add_argument("--url", metavar="URL", help=url)
    add_setting(service, GATEWAY["api_key"], "key for the gateway; prefer the environment variable")
    add_service(service, "address of a running service, HOST:PORT (default: none, start one with the model)")
    for name in ("providers", "memory", "threads", *LOADING):
        add_setting(local, SERVICE[name])
    add_config(parser)


def _add_doctor(parser: ArgumentParser) -> None:
    what = "folder, .safetensors file or OWNER/NAME in the hub's cache (default: the models of the settings)"
    parser.add_argument("models_asked", metavar="MODEL", nargs="*", help=what)
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config(parser)
    add_section(parser.add_argument_group("service"), "service")
    add_section(parser.add_argument_group("gateway"), "gateway", without=SERVICE)


def _add_pull(parser: ArgumentParser) -> None:
    model = "model on the hub; OWNER/NAME/FILE.safetensors is one file of it"
    parser.add_argument("model", metavar="OWNER/NAME[@REVISION]", help=model)
    precision = "weights to prefer: fp16, bf16 or fp32 (default: those in the cache, otherwise fp16)"
    parser.add_argument("--precision", metavar="NAME", choices=("fp16", "bf16", "fp32"), help=precision)
    cache = "cache folder (default: ~/.cache/huggingface/hub) [HF_HUB_CACHE, HF_HOME]"
    parser.add_argument("--cache", metavar="FOLDER", help=cache)
    parser.add_argument("--dry-run", action="store_true", help="show what would be downloaded")
    parser.add_argument("--offline", action="store_true", help="use the cache alone [HF_HUB_OFFLINE]")


def _add_models(parser: ArgumentParser) -> None:
    actions = ("list", "load", "unload", "available")
    add_action_and_name(parser, actions, "name of the model to load or unload, or of an available one to describe")
    add_config(parser)
    add_service(parser, "address of the service, HOST:PORT (default: 127.0.0.1:50051)")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its line in the overview, the module whose `run` executes it, its flags, and examples."""

    help: str
    module: str
    add_flags: Callable[[Parser], None]
    examples: str

    @property
    def epilog(self) -> str:
        """The examples as `--help` shows them."""
        return "examples:\n" + indent(dedent(self.examples).strip(), "  ")


COMMANDS = {
    "up": Command(
        "start service and gateway on this machine, until Ctrl-C",
        ".servers.up",
        _add_up,
        """
        tintype up
        tintype up --model ~/models/sdxl --model ~/models/flux --memory 6GiB
        tintype keys create alice && tintype up --rest 0.0.0.0:8080
        tintype up --check && echo "it works here"
        """,
    ),
    "serve": Command(
        "start the gRPC service alone",
        ".servers.serve",
        _add_serve,
        """
        tintype serve --grpc 0.0.0.0:50051 --model ~/models/sdxl --provider tensorrt --provider cuda
        TINTYPE_MODELS=~/models/sdxl TINTYPE_MEMORY=6GiB tintype serve
        """,
    ),
    "gateway": Command(
        "start the REST gateway alone",
        ".servers.serve",
        _add_gateway,
        """
        tintype gateway --rest 0.0.0.0:8080 --grpc gpu-box:50051 --keys /etc/tintype/keys
        TINTYPE_SERVICE_KEY=tt-... tintype gateway --grpc gpu-box:50051 --tls-ca ca.pem
        """,
    ),
    "cluster": Command(
        "serve in a Ray cluster: start, describe and stop an application of Ray Serve",
        ".servers.cluster",
        add_cluster,
        """
        tintype cluster up --model ~/models/sdxl --replicas 1..8 --gpus 1 --address auto
        tintype cluster status && tintype cluster down
        tintype cluster manifest --model /models/sdxl --replicas 1..8 --gpus 1 > tintype.yaml
        """,
    ),
    "generate": Command(
        "make images and save them",
        ".generation.command",
        add_generate,
        """
        tintype generate "A serene mountain lake at sunset" -o lake.png
        tintype generate "A lighthouse" --size 256x256 --steps 20 --seed 7 --count 4 -o lighthouse.webp
        tintype generate "A lighthouse" --grpc gpu-box:50051 --model sdxl
        tintype generate --prompts prompts.txt -o "out/{index:03}-{slug}.png" --grid all.png
        tintype generate "A lighthouse" --x steps=4,8,20 --y guidance=1,3 --grid sheet.png
        tintype generate "The cat of image 1 on the sofa of image 2" --reference cat.png --reference sofa.png
        tintype generate "A lighthouse" --control canny=edges.png:0.8:0-0.5 --image-prompt ip-adapter=style.png
        tintype generate "A lighthouse" -q -o - | convert - -resize 50% small.png
        """,
    ),
    "bench": Command(
        "measure the figures of this machine in a minute: start, image, images per second, memory",
        ".bench.command",
        _add_bench,
        """
        tintype bench
        tintype bench stabilityai/sd-turbo --steps 1 --steps 4 --seconds 300
        tintype bench --grpc gpu-box:50051
        tintype bench --json | jq '.by_steps[0].images_per_second'
        """,
    ),
    "doctor": Command(
        "show what was found here, which settings apply, and what models need",
        ".doctor.command",
        _add_doctor,
        """
        tintype doctor
        tintype doctor stabilityai/sd-turbo dreamshaper.safetensors --precision int8
        tintype doctor --json | jq .machine
        """,
    ),
    "pull": Command(
        "download a model from the Hugging Face hub",
        ".pull",
        _add_pull,
        """
        tintype pull stabilityai/sd-turbo
        tintype pull stabilityai/stable-diffusion-xl-base-1.0 --precision fp32 --dry-run
        tintype pull Lykon/DreamShaper/DreamShaper_8_pruned.safetensors
        HF_TOKEN=hf_... tintype pull black-forest-labs/FLUX.1-dev@main --cache /data/hub
        """,
    ),
    "models": Command(
        "list, load and unload the models of a running service; list published models to try",
        ".models",
        _add_models,
        """
        tintype models available
        tintype models available sd-turbo
        tintype models
        tintype models load sdxl --grpc gpu-box:50051
        TINTYPE_SERVICE_KEY=tt-... tintype models unload sdxl
        """,
    ),
    "keys": Command(
        "create, list and revoke the keys of REST and gRPC clients",
        ".keys",
        add_keys,
        """
        tintype keys create alice
        tintype keys create bob --requests 30 --images 60 --model sdxl --priority -10
        tintype keys create ops --admin
        tintype keys
        tintype keys revoke alice
        """,
    ),
    "usage": Command(
        "show what each key has used, by day and model",
        ".usage",
        add_usage,
        """
        tintype usage
        tintype usage --key alice --since 2026-01-01
        tintype usage --csv > usage.csv
        """,
    ),
}
