"""Safety checkers refuse images, by graphs whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.support.models.safety_checkers import BLUE, RED, SIDE, write_checker, write_classifier
from tests.support.service.fakes import make_spec
from tintype.service.errors import GenerationFailed, ImageRefused, ModelBroken, OutOfMemory
from tintype.service.models.folder.safety_files import find_safety_checker, read_safety_checker
from tintype.service.models.loading_options import SafetyOptions
from tintype.service.models.residency.component_memory import ComponentMemory
from tintype.service.models.safety_checker import SafetyCheckers, prepare

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.folder.safety_files import SafetyFiles
    from tintype.service.models.spec import ModelSpec


def checked(files: SafetyFiles | None, name: str = "toy") -> ModelSpec:
    """Return a model with a checker."""
    return replace(make_spec(name), safety=files)


def checkers(limit: int = 0) -> SafetyCheckers:
    """Return checkers on the CPU, in a memory of their own."""
    return SafetyCheckers(ComponentMemory(limit), ("cpu",), 1)


def classifier(folder: Path, labels: tuple[str, ...] = ("normal", "nsfw"), **config: Any) -> SafetyFiles:
    """Write a classifier that refuses its last label."""
    return read_safety_checker(SafetyOptions(write_classifier(folder, labels, **config), labels[-1:]))


def test_diffusers_checker(tmp_path: Path) -> None:
    """The graph of Stable Diffusion 1.x refuses what it flags, and accepts the rest."""
    write_checker(tmp_path)
    spec = checked(find_safety_checker(tmp_path, {}, SafetyOptions()))
    all_checkers = checkers()
    with pytest.raises(ImageRefused, match="safety checker of model 'toy' refuses an image"):
        all_checkers.check(spec, RED)
    all_checkers.check(spec, BLUE)


@pytest.mark.parametrize("several", [False, True])
def test_classifiers_refuse_by_a_threshold(tmp_path: Path, *, several: bool) -> None:
    """The label of red images has the logit 8: a probability of 0.9997, of one label or of several."""
    problem = "multi_label_classification" if several else "single_label_classification"
    files = classifier(tmp_path, problem_type=problem)
    all_checkers = checkers()
    with pytest.raises(ImageRefused):
        all_checkers.check(checked(replace(files, threshold=0.999)), RED)
    all_checkers.check(checked(replace(files, threshold=0.9999)), RED)
    all_checkers.check(checked(files), BLUE)


def test_models_without_a_checker_are_not_checked() -> None:
    """A model whose images are not checked needs no graph."""
    checkers().check(make_spec("toy"), RED)


def test_graphs_of_other_kinds_end_the_request(tmp_path: Path) -> None:
    """A graph that is neither kind, and a classifier with other labels than outputs, give no verdict."""
    write_checker(tmp_path)
    graph = tmp_path / "safety_checker" / "model.onnx"
    files = find_safety_checker(tmp_path, {}, SafetyOptions())
    graph.write_bytes(graph.read_bytes().replace(b"clip_input", b"clap_input"))
    with pytest.raises(GenerationFailed, match=r"could not be checked: .*has the inputs clap_input"):
        checkers().check(checked(files), BLUE)
    labels = classifier(tmp_path / "nsfw")
    with pytest.raises(GenerationFailed, match=r"gave \[2\] values for the 3 labels"):
        checkers().check(checked(replace(labels, labels=(*labels.labels, "more"))), BLUE)
    with pytest.raises(GenerationFailed, match=r"is a classifier, which needs a config\.json with id2label"):
        checkers().check(checked(replace(labels, labels=())), BLUE)


def test_a_checker_is_loaded_with_its_model(tmp_path: Path) -> None:
    """A graph that can't be loaded, or is of neither kind, makes its model broken; one that can is in memory then."""
    memory = ComponentMemory(2**20)
    all_checkers = SafetyCheckers(memory, ("cpu",), 1)
    all_checkers.load(make_spec("unchecked"))
    assert memory.used == 0
    files = classifier(tmp_path)
    all_checkers.load(checked(files))
    assert memory.used == files.graph.weights_bytes
    with pytest.raises(ModelBroken, match=r"model 'toy' can't be served: its safety checker: .* needs a config\.json"):
        checkers().load(checked(replace(files, labels=())))
    files.graph.path.write_bytes(b"garbage")
    with pytest.raises(ModelBroken, match=r"its safety checker: .*model\.onnx can't be loaded"):
        checkers().load(checked(files))
    all_checkers.load(checked(files))  # it is in memory
    all_checkers.forget("toy")
    memory.drop("toy")()
    with pytest.raises(ModelBroken, match=r"can't be loaded"):
        all_checkers.load(checked(files))


def test_checkers_count_towards_the_budget(tmp_path: Path) -> None:
    """Models share the graph of one folder, which is loaded at its first use; a budget below its size is an error."""
    files = classifier(tmp_path)
    memory = ComponentMemory(2**20)
    all_checkers = SafetyCheckers(memory, ("cpu",), 1)
    assert memory.used == 0
    for name in ("one", "two", "one"):
        all_checkers.check(checked(files, name), BLUE)
    assert memory.used == files.graph.weights_bytes
    with pytest.raises(OutOfMemory, match=r"takes .* bytes, above 100"):
        checkers(limit=100).check(checked(files), BLUE)


def test_evicted_checkers_are_loaded_again(tmp_path: Path) -> None:
    """A checker that made room for a component is loaded for the next image."""
    files, memory = classifier(tmp_path), ComponentMemory(2**20)
    all_checkers = SafetyCheckers(memory, ("cpu",), 1)
    all_checkers.check(checked(files), BLUE)
    free = memory.evict_idle("other")
    assert free is not None
    free()
    assert memory.used == 0
    with pytest.raises(ImageRefused):
        all_checkers.check(checked(files), RED)
    assert memory.used == files.graph.weights_bytes


def test_replaced_checkers_are_loaded_again(tmp_path: Path) -> None:
    """A graph that was replaced on the disk, with its model, is used from the next image on."""
    old = classifier(tmp_path)
    all_checkers = checkers()
    with pytest.raises(ImageRefused):
        all_checkers.check(checked(old), RED)
    (tmp_path / "model.onnx").unlink()
    new = classifier(tmp_path, ("nsfw", "normal", "other"))
    assert new.identity != old.identity
    new = replace(new, refused=(1,), threshold=0.9)
    all_checkers.check(checked(new), RED)


@pytest.mark.parametrize("size", [(48, 32), (17, 90)])
def test_input_of_the_graph(tmp_path: Path, size: tuple[int, int]) -> None:
    """With a crop the middle square is read, otherwise the whole image is stretched; values are normalized."""
    write_checker(tmp_path)
    clip = find_safety_checker(tmp_path, {}, SafetyOptions())
    assert clip is not None
    halves = Image.new("RGB", size, (0, 255, 51))
    for files in (clip, classifier(tmp_path / "nsfw")):
        values = prepare(halves, files.preprocessing)
        assert values.shape == (1, 3, SIDE, SIDE)
        assert np.allclose(values.mean((0, 2, 3)), [-1, 1, -0.6], atol=1e-6)
