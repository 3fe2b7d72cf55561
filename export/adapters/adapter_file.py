"""Published adapters of every kind: the changes of a `.safetensors` file.

===== =========================================================================================================
LoRA  W + B A. Of a convolution A has its kernel, and B is 1 by 1 (LoCon); with `mid` A is 1 by 1 too, and the
      kernel is a core between them (Tucker)
LoHa  W + (B1 A1) * (B2 A2), element by element: Hyeon-Woo et al. 2108.06098
LoKr  W + the Kronecker product of two matrices, each of which may be B A: Yeh et al. 2309.14859
full  W + a difference of all weights; the bias may have one as well
DoRA  any of these, after which each output has a norm that the file tells: Liu et al. 2402.09353
===== =========================================================================================================

The products of LoRA, LoHa and LoKr are exactly B A of some rank, and so can be inputs of a graph (`.lora`); all kinds
can become part of the weights (`.fuse`). alpha / rank is a factor of the product; without alpha it is 1.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.models.files import Fault, label
from tintype.service.models.pipeline.lora import sized
from tintype.service.models.safetensors import TensorFile, shown

from ..errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Array = np.ndarray[Any, np.dtype[np.float32]]
    Pair = tuple[Array, Array]
    """B [out, r] and A [r, in], a kernel counted as part of `in`."""
    Fields = Mapping[str, Array]

# How the names of tensors end, and what that makes of them.
ENDS = re.compile(
    r"(?:[._]lora(?:_linear_layer)?[._](?P<side>A|B|down|up|mid)(?:\.default)?\.(?P<of>weight|bias)"
    r"|\.(?P<other>alpha|scalar|dora_scale|lora_magnitude_vector|diff|diff_b|w_norm|b_norm"
    r"|(?:hada|lokr)_[wt][12](?:_[ab])?)(?:\.default)?(?:\.weight)?)$"
)
ROLES = {"A": "down", "B": "up", "w_norm": "diff", "b_norm": "diff_b"}
# Kinds that are recognised by their tensors and can't be exported at all.
FOREIGN = {"oft_": "OFT", "boft_": "BOFT", ".on_input": "IA3", ".ia3_": "IA3", "vera_": "VeRA"}
PEFT_NOTES = "adapter_config.json"
NOTES = "lora_adapter_metadata"


def _flat(array: Array) -> Array:
    return array.reshape(len(array), -1)


def _tucker(core: Array, up: Array, down: Array) -> Pair:
    """Return B and A of a core between up and down.

    The core is [r, s, ...], up [r, out], down [s, in].
    """
    return up.T, np.einsum("ij...,jr->ir...", core, down).reshape(len(core), -1)


def _halved(array: Array) -> Pair:
    """Return a whole matrix as its product with the smaller identity."""
    whole = _flat(array)
    out, wide = whole.shape
    return (np.eye(out, dtype=whole.dtype), whole) if out <= wide else (whole, np.eye(wide, dtype=whole.dtype))


def _lora(fields: Fields) -> list[Pair]:
    up, down = _flat(fields["up"]), _flat(fields["down"])
    return [_tucker(fields["mid"], up.T, down) if "mid" in fields else (up, down)]


def _loha(fields: Fields) -> list[Pair]:
    sides = [(fields[f"hada_w{n}_a"], fields[f"hada_w{n}_b"]) for n in (1, 2)]
    return [
        _tucker(fields[f"hada_t{n}"], a, b) if f"hada_t{n}" in fields else (a, _flat(b))
        for n, (a, b) in enumerate(sides, 1)
    ]


def _lokr(fields: Fields) -> list[Pair]:
    made = []
    for n in (1, 2):
        a, b, core = (fields.get(f"lokr_{name}") for name in (f"w{n}_a", f"w{n}_b", f"t{n}"))
        if f"lokr_w{n}" in fields and not (a is None and b is None and core is None):
            raise ValueError
        if a is None or b is None:
            made.append(_halved(fields[f"lokr_w{n}"]))
        else:
            made.append((a, _flat(b)) if core is None else _tucker(core, a, b))
    return made


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of adapter: `sign` begins its tensor names, `pairs` reads them.

    Every adapter of the kind has a tensor whose name begins with `sign`. `join` makes one matrix of the products'
    matrices, and `ups` and `downs` one B and one A of theirs. `ranks` name the tensors whose first axis is the rank
    that alpha is divided by.
    """

    name: str
    sign: tuple[str, ...]
    pairs: Callable[[Fields], list[Pair]]
    join: Callable[[Array, Array], Any]
    ups: Callable[[Array, Array], Any]
    downs: Callable[[Array, Array], Any]
    ranks: tuple[str, ...] = ()


def _columns(one: Array, other: Array) -> Array:
    """Return all products of a column of each."""
    return (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)


KINDS = (
    Kind("LoRA", ("up", "down"), _lora, np.matmul, np.matmul, np.matmul, ("down",)),
    Kind("LoHa", ("hada_",), _loha, np.multiply, _columns, lambda a, b: _columns(a.T, b.T).T, ("hada_w1_b",)),
    Kind("LoKr", ("lokr_",), _lokr, np.kron, np.kron, np.kron, ("lokr_w1_b", "lokr_w2_b")),
    Kind("full difference", ("diff",), lambda fields: [_halved(fields["diff"])], np.add, np.add, np.add),
)


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one layer; the product of `pairs` is its matrix.

    `name` is the layer's name in the file. `fields` are its tensors by their roles, and `keys` what the file calls
    them.
    """

    name: str
    kind: Kind
    fields: Fields
    pairs: tuple[Pair, ...]
    keys: Mapping[str, str]

    @property
    def size(self) -> tuple[int, int]:
        """Sides of the matrix: out, and in with the kernel.

        (0, 0) where only a bias changes.
        """
        outs, wides = [len(b) for b, _ in self.pairs], [a.shape[1] for _, a in self.pairs]
        return (math.prod(outs), math.prod(wides)) if self.kind.name == "LoKr" else (outs[0], wides[0])

    @property
    def rank(self) -> int:
        """Rank of the exact product."""
        return math.prod(len(a) for _, a in self.pairs)

    def matrix(self) -> Array:
        """Return the whole matrix [out, in], without its scale."""
        if "diff" in self.fields:
            return _flat(self.fields["diff"])
        first, *rest = (b @ a for b, a in self.pairs)
        made: Array = self.kind.join(first, *rest) if rest else first
        return made

    def product(self) -> Pair:
        """Return B [out, r] and A [r, in], without the scale."""
        if self.rank > min(self.size):
            return _halved(self.matrix())
        (up, down), *rest = self.pairs
        return (self.kind.ups(up, rest[0][0]), self.kind.downs(down, rest[0][1])) if rest else (up, down)

    def scale(self, notes: Mapping[str, Any], part: str, module: str) -> float:
        """Return the product's factor, alpha / rank.

        alpha is that of the file or of its notes.
        """
        rank = next((len(self.fields[name]) for name in self.kind.ranks if name in self.fields), None)
        factor = float(self.fields["scalar"].reshape(())) if "scalar" in self.fields else 1.0
        if not self.kind.ranks:
            return factor
        if "alpha" in self.fields:
            return factor * float(self.fields["alpha"].reshape(())) / rank if rank else factor
        return factor * _noted_scale(notes, part, module, rank)


@dataclass(frozen=True, slots=True)
class Published:
    """An adapter file: its changes in order, and notes of alphas.

    The changes are in the order of their names.
    """

    path: Path
    changes: tuple[Change, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def refuse(self, problem: str) -> Refused:
        """Return the error to raise for what is wrong with the file."""
        return Refused(f"{self.path}: {problem}")


def read(path: Path, denoiser: str) -> Published:
    """Read an adapter file.

    PEFT's notes in a file next to it belong to the component `denoiser`. Raises Refused.
    """
    try:
        file = TensorFile(path, most=2**63)
        grouped(file.entries)
        file = TensorFile(path)  # no larger than an adapter may be, then
        notes = _notes(file.metadata.get(NOTES, "{}"), "") | _beside(path, denoiser)
        return Published(path, changes(grouped(file.entries), file.read), notes)
    except Fault as fault:
        problem = str(fault).removeprefix(label(path)).lstrip(": ")
        raise Refused(f"{path}: {problem}") from None


def grouped(names: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the tensors of each layer by role.

    Raises Fault for a tensor that belongs to no adapter.
    """
    layers: dict[str, dict[str, str]] = {}
    strange = []
    for name in names:
        end = ENDS.search(name)
        if end:
            role = ROLES.get(end["side"] or end["other"], end["side"] or end["other"])
            layers.setdefault(name[: end.start()], {})["bias" if end["of"] == "bias" else role] = name
        else:
            strange.append(name)
    foreign = [kind for sign, kind in FOREIGN.items() if any(sign in name for name in strange)]
    if foreign:
        raise Fault(f"is an adapter of the kind {foreign[0]}; known are {', '.join(kind.name for kind in KINDS)}, DoRA")
    if not layers:
        what = f"its tensors are called {shown(strange[0])} and the like, as a model's weights" if strange else "empty"
        raise Fault(f"holds no adapter: {what}")
    if strange:
        raise Fault(f"holds {shown(strange[0])}, which is not part of an adapter")
    return layers


def changes(layers: Mapping[str, Mapping[str, str]], read: Callable[[str], Array]) -> tuple[Change, ...]:
    """Return the changes of layers as `grouped` returns them. Raises Fault."""
    return tuple(
        _change(name, {role: read(key) for role, key in sorted(keys.items())}, keys)
        for name, keys in sorted(layers.items())
    )


def _change(name: str, fields: Fields, keys: Mapping[str, str]) -> Change:
    """Return what the tensors of a layer are together. Raises Fault."""
    for role, array in fields.items():
        if not np.isfinite(array).all():
            raise Fault(f"{shown(name)}: its {role} holds numbers that are not finite")
    for role in ("alpha", "scalar"):
        if role in fields and fields[role].size != 1:
            raise Fault(f"{shown(name)}: its {role} is {fields[role].size} numbers, and must be one")
    kinds = [kind for kind in KINDS if any(role.startswith(kind.sign) and role != "diff_b" for role in fields)]
    if len(kinds) > 1:
        raise Fault(f"{shown(name)} has changes of several kinds: {' and '.join(kind.name for kind in kinds)}")
    if not kinds:
        if "diff_b" not in fields:
            raise Fault(f"{shown(name)} has no matrices, only {', '.join(fields)}")
        return Change(name, KINDS[-1], fields, (), keys)
    try:
        return _checked(Change(name, kinds[0], fields, tuple(kinds[0].pairs(fields)), keys))
    except (KeyError, IndexError, ValueError, TypeError) as error:  # the last, of a number that is not a matrix
        there = ", ".join(f"{role} {list(array.shape)}" for role, array in fields.items())
        what = f"lack {error}" if isinstance(error, KeyError) else "do not fit together"
        raise Fault(f"{shown(name)}: the tensors of its {kinds[0].name} {what}: {there}") from None


def _checked(change: Change) -> Change:
    """Check that the pairs of a change can be multiplied. Raises ValueError."""
    for b, a in change.pairs:
        if b.ndim != 2 or a.ndim != 2 or b.shape[1] != len(a) or not a.size:
            raise ValueError
    if change.kind.name == "LoHa" and len({(len(b), a.shape[1]) for b, a in change.pairs}) > 1:
        raise ValueError
    return change


def fitted(file: Published, change: Change, shape: tuple[int, ...]) -> Change:
    """Return a change that fits weights [out, in, ...].

    Raises Refused, with both sizes.
    """
    out, *wide = shape
    core = change.fields.get("mid", change.fields.get("down", change.fields.get("diff")))
    kernel = core.shape[2:] if core is not None else ()
    same = not kernel or math.prod(kernel) == 1 or kernel == tuple(wide[1:])
    if change.pairs and (change.size != (out, math.prod(wide)) or not same):
        taps = math.prod(kernel)
        theirs = (change.size[1] // taps, *(kernel if taps > 1 else ()), change.size[0])
        ours = (*(wide[:1] if math.prod(wide[1:]) == 1 else wide), out) if wide else (1, out)
        raise file.refuse(f"changes {shown(change.name)} {sized(theirs)}, which is {sized(ours)} in this model")
    return change


def scaled(file: Published, change: Change, part: str, module: str) -> float:
    """Return the scale of a module's change.

    Raises Refused if the noted scale is not a number.
    """
    try:
        found = change.scale(file.notes, part, module)
    except (TypeError, ValueError, AttributeError, re.error, ZeroDivisionError) as error:
        raise file.refuse(f"the alpha noted for {shown(change.name)} can't be read: {error}") from None
    if not math.isfinite(found):
        raise file.refuse(f"the alpha noted for {shown(change.name)} is not finite")
    return found


def _notes(text: str, component: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Fault(f"its notes of alphas are not JSON: {error}") from None
    if not isinstance(said, dict):
        raise Fault("its notes of alphas are not a JSON object")
    return {f"{component}.{key}" if component else key: value for key, value in said.items()}


def _beside(path: Path, denoiser: str) -> dict[str, Any]:
    """Return PEFT's notes, from their own file next to the adapter.

    PEFT saves the adapter under a fixed name.
    """
    notes = path.with_name(PEFT_NOTES)
    return _notes(notes.read_text("utf-8", errors="replace"), denoiser) if notes.is_file() else {}


def _noted_scale(notes: Mapping[str, Any], part: str, module: str, rank: int | None) -> float:
    """Return alpha / rank of a module from notes; 1 without notes.

    Keys of the notes begin with the component. A pattern is the end of a layer's name from a dot on, or all of it, as
    PEFT finds it.
    """

    def noted(key: str, *names: str) -> Any:
        patterns = notes.get(f"{part}.{key}_pattern") or {}
        own = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
        return next(own, next((notes[f"{part}.{name}"] for name in names if f"{part}.{name}" in notes), None))

    alpha, rank = noted("alpha", "lora_alpha", "alpha"), rank or noted("rank", "r")
    if alpha is None or rank is None:
        return 1.0
    return float(alpha) / (rank**0.5 if notes.get(f"{part}.use_rslora") else rank)
