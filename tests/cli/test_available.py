"""The list of published models: complete rows, calculated sizes, and commands to paste."""

from __future__ import annotations

import pytest

from tintype.cli import main
from tintype.cli.available import describe, overview
from tintype.cli.commands import build_parser
from tintype.cli.errors import UserError
from tintype.cli.published import FULL, HALF, PUBLISHED, PublishedModel
from tintype.cli.published.conditional import CONDITIONAL
from tintype.cli.published.parameters import PARAMETERS
from tintype.cli.published.permissive import PERMISSIVE
from tintype.cli.settings.values import HUB_MODEL
from tintype.service.models.templates.catalogue import installed


def test_rows_are_complete() -> None:
    """Each model has a valid id, a licence and a use; an image model has steps and a size."""
    assert len({model.id for model in PUBLISHED}) == len(PUBLISHED)
    assert len({model.name.lower() for model in PUBLISHED}) == len(PUBLISHED)
    for model in PUBLISHED:
        assert HUB_MODEL.fullmatch(model.id)
        assert model.license
        assert model.purpose
        assert bool(model.steps and model.side) is not bool(model.replaces_vae)
        assert set(model.full) <= set(model.templates) <= PARAMETERS.keys()


def test_order_is_by_licence_and_size() -> None:
    """Apache-2.0 first, then other permissive licences, then the rest; each from the smallest download."""
    ranks = [0 if model.license == "Apache-2.0" else 1 if model in PERMISSIVE else 2 for model in PUBLISHED]
    keys = [(rank, model.download_bytes) for rank, model in zip(ranks, PUBLISHED, strict=True)]
    assert keys == sorted(keys)
    assert set(ranks) == {0, 1, 2}
    assert {model.license for model in PERMISSIVE} == {"Apache-2.0", "MIT"}
    assert set(PUBLISHED) == {*PERMISSIVE, *CONDITIONAL}
    assert [line.split()[0].rstrip("*") for line in overview().splitlines()[1 : len(PUBLISHED) + 1]] == [
        model.id for model in PUBLISHED
    ]


def test_vaes_belong_to_listed_models() -> None:
    """The example of a VAE is a model of the list."""
    ids = {model.id for model in PUBLISHED}
    assert {model.replaces_vae for model in PUBLISHED if model.replaces_vae} <= ids


def test_sizes_follow_from_parameters() -> None:
    """Two bytes for a parameter are downloaded, four where no other is published; memory grows with the image."""
    model = PublishedModel(id="a/b", license="MIT", purpose="x", templates=("clip-l", "sana-600m"), full=("clip-l",))
    assert model.download_bytes == 123e6 * 4 + 592e6 * 2
    assert model.memory_bytes(FULL, 0) == (123e6 + 592e6) * 4
    assert model.memory_bytes(HALF, 1024) > model.memory_bytes(HALF, 512) > (123e6 + 592e6) * 2


def test_overview_lists_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table needs no service; gated models are marked, and the calculation is stated."""
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["models", "available"]) == 0
    lines = capsys.readouterr().out.splitlines()
    marked = {model.id + "*" * model.gated for model in PUBLISHED}
    assert marked <= {line.split()[0] for line in lines if line}
    assert "calculated from the number of parameters" in overview()


def test_narrow_terminal_has_two_lines_for_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that is narrower than the table gets the same facts in lines that fit."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models", "available"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    words = text.split()
    for model in PUBLISHED:
        assert f"{model.id}{'*' * model.gated}:" in words
        assert " ".join(model.purpose.split()) in " ".join(words)
        assert model.license in text


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_commands_are_valid(model: PublishedModel) -> None:
    """The details end with the two commands, which the parser accepts; a gated model's begin with its page."""
    text = describe(model.name.upper())
    pull, up = (line.strip().split()[1:] for line in text.splitlines()[-2:])
    assert pull == ["pull", model.id]
    arguments = build_parser().parse_args(up)
    assert model.id in (*arguments.models, arguments.vae)
    assert ("HF_TOKEN" in text) is model.gated


def test_unknown_name_is_an_error() -> None:
    """A name that is not in the list is an error that suggests similar ones, and those that contain it."""
    with pytest.raises(UserError, match=r"did you mean sd-turbo\? Other models"):
        describe("sd-turbos")
    with pytest.raises(UserError, match=r"did you mean FLUX\.2-klein-4B or FLUX\.1-schnell or FLUX\.2-klein-9B"):
        describe("flux")
    with pytest.raises(UserError, match="lists all"):
        describe("zzzz")


def test_parameters_are_those_of_the_templates() -> None:
    """Every listed model can be served: its templates are installed, and sizes are calculated from their numbers."""
    counts = {template.name: template.parameters / 1e6 for template in installed()}
    for name, parameters in PARAMETERS.items():
        assert parameters == pytest.approx(counts[name], rel=0.01), name
