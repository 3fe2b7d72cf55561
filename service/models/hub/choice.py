"""Choice of the files that serving needs, from the names in a repository.

- A pipeline (`model_index.json`): for each component that it names, its configuration and its weights in one
  precision; without the safety checker and the feature extractor. A component without .safetensors has ONNX graphs.
  A safety checker that is an ONNX graph is chosen if it is wanted.
- Without it: the one .safetensors file in the root, or the file that is named.
- Pickles (.bin, .ckpt, .pt) are never chosen: reading one can run any code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from .errors import NotOnHub, NotServable
from .identifiers import WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

INDEX, OWN_INDEX = "model_index.json", "tintype.json"
# Variants in order of preference; weights without a variant are usually float32.
PRECISIONS = {"fp16": ("fp16", "bf16", ""), "bf16": ("bf16", "fp16", ""), "fp32": ("", "fp32", "bf16", "fp16")}
DEFAULT_PRECISION = "fp16"
UNSERVED = {"safety_checker", "feature_extractor", "image_encoder", "watermarker"}
SAFETY_CHECKER = "safety_checker"
PREPROCESSORS = tuple(f"{folder}/preprocessor_config.json" for folder in (SAFETY_CHECKER, "feature_extractor"))
WITHOUT_WEIGHTS = ("tokenizer", "scheduler", "image_processor")
VAE_GRAPHS = ("vae_encoder", "vae_decoder")
# Names without a pipeline that are components of an ONNX model.
ONNX_COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", *VAE_GRAPHS)
CONFIGURATIONS = {
    *("config.json", "scheduler_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "spiece.model", "tokenizer.model", "tokenizer.json", "chat_template.jinja"),
    *("tekken.json", "generation_config.json"),
}
DOCUMENTS = re.compile(r"README\.md|LICENSE(\.md|\.txt)?|" + "|".join(map(re.escape, (INDEX, OWN_INDEX))))
LARGEST_DOCUMENT = 4 << 20  # bytes
STEM = r"(?:diffusion_pytorch_model|model)"
# The variant is written in three places: `model.fp16-00001-of-00002`, `model-00001-of-00002.fp16`, `….index.fp16.json`.
COMPONENT_WEIGHTS = re.compile(
    STEM + r"(?:\.(?P<variant>\w+))?(?:-(?P<shard>\d{5})-of-(?P<shards>\d{5}))?(?:\.(?P<late>\w+))?"
    r"\.safetensors(?P<index>\.index(?:\.(?P<third>\w+))?\.json)?",
    re.ASCII,
)
GRAPH = "model.onnx"
GRAPH_DATA = re.compile(r"model\.onnx[._]data[\w.]*|model\.data|model_data|weights\.pb", re.ASCII)
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
ADAPTER_FILES = {"pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_config.json"}
PARTS: dict[str, Callable[[str], bool]] = {
    "vae": lambda name: name == "vae" or name in VAE_GRAPHS,
    "text_encoders": lambda name: name.startswith(("text_encoder", "tokenizer")),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a repository.

    - `precision`: a key of PRECISIONS; empty for the default, and then weights that are `present` come first.
    - `part`: a key of PARTS; empty for the whole model.
    - `file`: a .safetensors file of the repository; empty for its only one, or its pipeline.
    - `safety`: whether the safety checker of a whole model is wanted, if it is an ONNX graph.
    """

    precision: str = ""
    part: str = ""
    file: str = ""
    safety: bool = False
    present: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Files of a repository, and which of them is the model; an empty `target` means the folder."""

    files: tuple[str, ...]
    target: str = ""


Folders = dict[str, set[str]]  # names of files by their folder, "" for the root


def choose(sizes: Mapping[str, int], index: Mapping[str, Any] | None, wish: Wish) -> Choice:
    """Return the files that serving needs.

    Args:
        sizes: Bytes of each file of the repository, by path.
        index: Content of `model_index.json`, None without it.
        wish: What is wanted.

    Raises:
        NotServable: the repository has no files that tintype can serve; the message says what it has.
        NotOnHub: it does not have the file that is named.
    """
    folders: Folders = {}
    for path in sizes:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, set()).add(name)
    if wish.file:
        chosen, target = [_named(sizes, wish.file)], wish.file
    elif index is not None:
        chosen, target = _pipeline(folders, index, wish), ""
    elif wish.part:
        chosen, target = _bare_component(folders, wish)
    else:
        chosen, target = _without_index(folders)
    if wish.safety and not (wish.part or target):
        chosen = [*chosen, *_safety_checker(folders)]
    documents = (n for n in folders.get("", ()) if DOCUMENTS.fullmatch(n) and sizes[n] <= LARGEST_DOCUMENT)
    return Choice(tuple(sorted({*chosen, *documents})), target)


def _named(files: Collection[str], file: str) -> str:
    if file in files:
        return file
    others = get_close_matches(file, [path for path in files if path.endswith(WEIGHTS)], 3, 0)
    raise NotOnHub(f"it has no file {file}; it has {_listed(others)}")


def _pipeline(folders: Folders, index: Mapping[str, Any], wish: Wish) -> list[str]:
    names = [name for name, value in index.items() if isinstance(value, list) and any(value) and name not in UNSERVED]
    wanted = [name for name in names if not wish.part or PARTS[wish.part](name)]
    found = [path for name in wanted for path in _component(folders, name, wish)]
    if wish.part and not found:
        raise NotServable(f"{INDEX} names no {wish.part.replace('_', ' ')}")
    if OWN_INDEX in folders.get("", ()) and not wish.part:  # a folder of `tintype export`, with its adapters
        found += _paths("loras", _with_suffix(folders, "loras", WEIGHTS))
        found += _paths("embeddings", _with_suffix(folders, "embeddings", WEIGHTS))
    return found


def _component(folders: Folders, name: str, wish: Wish) -> list[str]:
    """Return the files of one component of a pipeline."""
    files = folders.get(name, set())
    if weights := choose_weights(name, files, wish):
        return _paths(name, weights | (files & CONFIGURATIONS))
    if graphs := _graphs(folders, VAE_GRAPHS if name == "vae" and GRAPH not in files else (name,)):
        return graphs + _paths(name, files & CONFIGURATIONS)
    if name.startswith(WITHOUT_WEIGHTS) and files & CONFIGURATIONS:
        return _paths(name, files & CONFIGURATIONS)
    raise NotServable(f"{INDEX} names {name}, but {_weightless(name, files)}")


def _safety_checker(folders: Folders) -> list[str]:
    """Return the files of the safety checker; none if it is not an ONNX graph."""
    graphs = _graphs(folders, (SAFETY_CHECKER,))
    files = {path for folder, names in folders.items() for path in _paths(folder, names)} if graphs else set()
    return graphs + [path for path in PREPROCESSORS if path in files]


def _weightless(name: str, files: Collection[str]) -> str:
    if pickles := [file for file in sorted(files) if file.endswith(PICKLES)]:
        return f"{name}/ has its weights only as a pickle, which can run code when it is read: {pickles[0]}"
    return f"{name}/ has neither {WEIGHTS} nor {GRAPH}" if files else f"there is no folder {name}/"


def choose_weights(folder: str, names: Collection[str], wish: Wish) -> set[str]:
    """Return the weights of a component in the preferred precision, with the index of shards; empty without any.

    Raises NotServable if shards are missing.
    """
    variants: dict[str, list[re.Match[str]]] = {}
    for match in filter(None, map(COMPONENT_WEIGHTS.fullmatch, sorted(names))):
        variants.setdefault(match["variant"] or match["late"] or match["third"] or "", []).append(match)
    usable = {name: _one_set(matches) for name, matches in variants.items() if not all(m["index"] for m in matches)}
    order = PRECISIONS[wish.precision or DEFAULT_PRECISION]
    others = sorted(name for name in usable if name not in order and "ema" not in name)
    candidates = [name for name in (*order, *others) if name in usable]
    if not candidates:
        return set()
    if not wish.precision:
        candidates.sort(key=lambda name: not all(path in wish.present for path in _paths(folder, _of(usable[name]))))
    chosen = usable[candidates[0]]
    _check_shards(folder, chosen)
    return _of(chosen)


def _one_set(matches: list[re.Match[str]]) -> list[re.Match[str]]:
    """Return one of several sets of the same weights: a whole file, otherwise shards under one spelling."""
    whole = [m for m in matches if not m["shard"] and not m["index"]]
    if whole:
        return whole[:1]
    shards = [m for m in matches if m["shard"]]
    spellings = {(m["shards"], bool(m["variant"])) for m in shards}
    best = min(spellings, key=lambda spelling: (spelling[0], not spelling[1]))
    return [m for m in matches if m["index"] or (m["shards"], bool(m["variant"])) == best]


def _of(matches: Iterable[re.Match[str]]) -> set[str]:
    return {match[0] for match in matches}


def _check_shards(folder: str, matches: Collection[re.Match[str]]) -> None:
    shards = {int(match["shard"]): int(match["shards"]) for match in matches if match["shard"]}
    missing = sorted(set(range(1, max(shards.values(), default=0) + 1)) - set(shards))
    if missing:
        raise NotServable(f"{folder}/ lacks shard {missing[0]} of {max(shards.values())}")
    if shards and not any(match["index"] for match in matches):
        raise NotServable(f"{folder}/ has shards, but no index of them ({WEIGHTS}.index.json)")


def _bare_component(folders: Folders, wish: Wish) -> tuple[list[str], str]:
    """Return the files of a repository that is one component itself, such as a VAE, or has one in its folder."""
    for folder in ("", wish.part):
        files = folders.get(folder, set())
        if "config.json" in files and (weights := choose_weights(folder or "the root", files, wish)):
            return _paths(folder, weights | {"config.json"}), ""
    single = sorted(_with_suffix(folders, "", WEIGHTS))
    if wish.part == "vae" and len(single) == 1:
        return single, single[0]
    raise NotServable(f"it has no {INDEX}, and no {wish.part.replace('_', ' ')} with config.json; {_contents(folders)}")


def _without_index(folders: Folders) -> tuple[list[str], str]:
    root = folders.get("", set())
    if adapters := sorted(root & ADAPTER_FILES):
        raise NotServable(f"it is an adapter ({adapters[0]}), not a model: {adapter_advice(adapters[0])}")
    if "config.json" in root and choose_weights("the root", root, Wish()):
        raise NotServable(f"it is one component, not a whole model; a VAE is given with --vae: {_contents(folders)}")
    if graphs := _graphs(folders, ONNX_COMPONENTS):
        parts = (name for name in folders if name.startswith(WITHOUT_WEIGHTS))
        return graphs + [path for name in parts for path in _paths(name, folders[name] & CONFIGURATIONS)], ""
    single = sorted(_with_suffix(folders, "", WEIGHTS))
    if len(single) == 1:
        return single, single[0]
    if single:
        raise NotServable(f"it has several models; name one as OWNER/NAME/FILE{WEIGHTS}: {_listed(single)}")
    raise NotServable(f"it has neither {INDEX} nor a {WEIGHTS} file in its root; {_contents(folders)}")


def adapter_advice(file: str = f"FILE{WEIGHTS}") -> str:
    """Return what to do with a repository that is an adapter."""
    return f"serve the model that it is made for, and copy {file} into that model's loras folder"


def _graphs(folders: Folders, names: Iterable[str]) -> list[str]:
    """Return the ONNX graphs of components, with their weights and configurations."""
    found: list[str] = []
    for name in names:
        files = folders.get(name, set())
        if GRAPH in files:
            data = {file for file in files if GRAPH_DATA.fullmatch(file)}
            found += _paths(name, {GRAPH} | data | (files & CONFIGURATIONS))
    return found


def _contents(folders: Folders) -> str:
    """Return what a repository has, for a message about what it lacks."""
    files = sorted((path for folder, names in folders.items() for path in _paths(folder, names)), key=_rank)
    pickles = [path for path in files if path.endswith(PICKLES)]
    if pickles:
        return f"it has pickles, which can run code when they are read: {_listed(pickles)}"
    return f"it has {_listed(files)}"


def _rank(path: str) -> tuple[bool, int, str]:
    return (not path.endswith((WEIGHTS, ".onnx", ".gguf")), path.count("/"), path)


def _listed(paths: Collection[str], most: int = 5) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(list(paths)[:most]) + more if paths else "no files"


def _with_suffix(folders: Folders, folder: str, suffix: str) -> set[str]:
    return {name for name in folders.get(folder, ()) if name.endswith(suffix)}


def _paths(folder: str, names: Iterable[str]) -> list[str]:
    return [f"{folder}/{name}" if folder else name for name in names]
