"""What `tintype doctor` says about published weights: templates, stored formats, memory, and quantization."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.support.models.small_template import SmallTemplate, numbers, write_weights
from tintype.cli.doctor import models
from tintype.cli.doctor.models import describe_model
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.loading_options import LoadingOptions, Precision
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.templates.filling import fill_template
from tintype.service.models.weights import quantizing

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tintype.service.models.templates.filled_template import FilledTemplate


def filled(folder: Path, dtype: str, precision: Precision) -> FilledTemplate:
    """Return a component of published weights."""
    options = LoadingOptions(cache=folder / "cache", precision=precision)
    return fill_template(
        SmallTemplate(), "unet", write_weights(folder / "w.safetensors", dtype), options, adapters=False
    )


def describe(monkeypatch: pytest.MonkeyPatch, source: FilledTemplate, provider: str = "cpu") -> dict[str, Any]:
    """Return the values of a model whose only component is `source`."""
    manifest = replace(read_manifest(BUILTIN), graphs={"unet": source})
    monkeypatch.setattr(models, "read_manifest", lambda *_: manifest)
    section = describe_model("m", source.options, BUILTIN, provider)
    return {finding.name: finding for finding in section.findings}


def test_template_and_stored_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A component names its template and its stored formats; memory is that of the format it computes in."""
    found = describe(monkeypatch, filled(tmp_path, "F16", Precision.AUTO))
    component = found["unet"].value
    assert component["template"] == SmallTemplate().name
    assert component["stored"] == {"F16": 2 * numbers()}
    assert (component["bytes"], found["memory"].value, component["card"]) == (4 * numbers(), 4 * numbers(), None)
    assert found["source"].value.startswith("folder of published weights")


def test_memory_depends_on_the_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """float16 weights take two bytes each on a GPU, and its memory is not compared with the machine's."""
    monkeypatch.setattr(models, "available_memory", lambda: 1)
    found = describe(monkeypatch, filled(tmp_path, "F16", Precision.AUTO), "cuda")
    assert found["memory"].value == 2 * numbers()
    assert "on cuda" in found["memory"].text
    assert found["memory"].note == ""


def test_quantization_is_described_once_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first session, the component has the card of its converted weights."""
    monkeypatch.setattr(quantizing, "SMALLEST", 1)
    source = filled(tmp_path, "F32", Precision.INT8)
    with source.open("cpu"):
        pass
    component = describe(monkeypatch, source)["unet"]
    card = component.value["card"]["quantization"]
    layers = f"{len(card['quantized'])} layers in 8 bits, {len(card['kept'])} kept, 0.00 GB instead of 0.00, error "
    assert layers in component.text
    assert card["worst_layer"] in component.text


def test_controlnets_and_ip_adapters_are_listed_with_those_that_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note says why one cannot be used; without any, nothing is said."""
    manifest = replace(read_manifest(BUILTIN), folder=tmp_path)
    monkeypatch.setattr(models, "read_manifest", lambda *_: manifest)

    def found() -> dict[str, Any]:
        return {each.name: each for each in describe_model("m", manifest.options, BUILTIN, "cpu").findings}

    assert not {"ControlNets", "IP-Adapters", "skipped"} & found().keys()
    for name, class_name in (("canny", "ControlNetModel"), ("flux", "FluxControlNetModel")):
        own = tmp_path / "controlnets" / name
        own.mkdir(parents=True)
        (own / "config.json").write_text(f'{{"_class_name": "{class_name}"}}')
        (own / "model.safetensors").touch()
    (tmp_path / "image_adapters" / "style").mkdir(parents=True)
    now = found()
    assert now["ControlNets"].value == ["canny"]
    assert "IP-Adapters" not in now
    assert list(now["skipped"].value) == ["controlnets/flux", "image_adapters/style"]
    assert "controlnets/flux is skipped: it was made for a FluxTransformer2DModel" in now["skipped"].note
