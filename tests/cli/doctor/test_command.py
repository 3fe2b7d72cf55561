"""`tintype doctor`: models in folders and in a hub cache, what is missing, settings, and the exit code."""

from __future__ import annotations

import json
import os
import shutil
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tintype.cli import main
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import providers
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home with a hub cache, and no settings."""
    for name in [name for name in os.environ if name.startswith(("TINTYPE_", "HF_", "HUGGING", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(providers, "run_probe", lambda _: providers.Probe(""))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cache_model(home: Path, name: str) -> Path:
    """Put the built-in model into the hub's cache, as links to blobs."""
    repository = home / ".cache/huggingface/hub" / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    shutil.copytree(BUILTIN, snapshot)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "x").write_bytes(bytes(5))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Return the exit code, the JSON, and what is on stderr."""
    code = main(["doctor", "--json", *arguments])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def test_built_in_model_can_be_served(capsys: pytest.CaptureFixture[str]) -> None:
    """Without settings the built-in model is described, and the exit code is 0."""
    code, found, errors = doctor(capsys)
    assert (code, errors) == (0, "")
    model = found["models"]["built in"]
    assert (model["family"], model["problems"]) == ("sd", [])
    assert model["memory"] == sum(
        model[name]["bytes"] for name in ("text_encoder", "unet", "vae_decoder", "vae_encoder")
    )
    assert {"software", "machine", "providers", "disk", "ports", "access", "settings", "hub"} < found.keys()


def test_text_names_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """The text has every section and the model's components."""
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for line in ("execution providers", "  cpu ", "model built in", "  vae_decoder ", "all are defaults"):
        assert line in text


def test_hub_id_is_found_in_the_cache(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """A hub id is described from the cache, without a request; the cache's models are listed with their bytes."""
    cache_model(home, "owner/a-model")
    code, found, _ = doctor(capsys, "owner/a-model")
    assert code == 0
    assert found["models"]["owner/a-model"]["source"].endswith("owner/a-model in the hub's cache")
    assert found["hub"]["owner/a-model"] == 5


def test_model_that_is_not_here(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """A hub id that is not in the cache is a problem with the command to run; others are still described."""
    code, found, errors = doctor(capsys, "owner/other", str(home / "none"))
    assert code == 2
    advice = "owner/other is not in the hub's cache; download it with `tintype pull owner/other`"
    assert found["models"]["owner/other"]["problems"] == [advice]
    assert errors == f"tintype: {advice}; and 1 more, see above\n"
    (problem,) = found["models"][str(home / "none")]["problems"]
    assert problem.endswith(f"there is no folder or file {home / 'none'}")


def test_broken_model_lists_every_fault(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """Each missing file is a problem of its own."""
    folder = shutil.copytree(BUILTIN, home / "broken")
    (folder / "unet" / "model.onnx").unlink()
    (folder / "tokenizer" / "vocab.json").unlink()
    code, found, _ = doctor(capsys, str(folder))
    assert code == 2
    assert len(found["models"][str(folder)]["problems"]) >= 2


def test_configured_models_and_sources_of_settings(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """Without MODEL the settings' models are described; each setting names its source, and secrets are hidden."""
    (home / "tintype.toml").write_text("models = ['here']\napi_key = 'sesame'\n")
    (home / "tintype.toml").chmod(0o600)
    shutil.copytree(BUILTIN, home / "here")
    code, found, errors = doctor(capsys, "--memory", "1GiB")
    assert (code, errors) == (0, "")
    assert list(found["models"]) == ["here"]
    assert found["settings"]["memory"] == {"value": '"1 GiB"', "source": "--memory"}
    assert found["settings"]["api_key"] == {"value": "set", "source": "tintype.toml:2"}


def test_models_of_a_folder(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """The models of the folder are described after those of the settings."""
    (home / "tintype.toml").write_text("models = ['here']\nmodels_folder = 'shelf'\n")
    for name in ("here", "shelf/b", "shelf/a"):
        shutil.copytree(BUILTIN, home / name)
    code, found, _ = doctor(capsys)
    assert (code, list(found["models"])) == (0, ["here", "shelf/a", "shelf/b"])


def test_too_little_memory_is_noted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are larger than the available memory get advice, and are not a problem."""
    monkeypatch.setattr("tintype.cli.doctor.models.available_memory", lambda: 35 * 2**20)
    code, found, _ = doctor(capsys)
    assert code == 0
    (note,) = found["models"]["built in"]["notes"]
    assert note.startswith("only 35 MiB are available: --memory 33 MiB lets components take turns; --precision int8")


def test_ports_and_keys(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """A port in use is noted, and keys are counted."""
    create(home / ".local/share/tintype/keys", "alice")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        code, found, _ = doctor(capsys, "--rest", address)
    assert code == 0
    assert found["ports"]["rest"] == {"address": address, "free": False}
    assert found["access"]["keys"]["keys"] == 1


def test_misspelled_variable_is_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that looks like a misspelled setting is among the settings."""
    monkeypatch.setenv("TINTYPE_MODEL", "x")
    _, found, _ = doctor(capsys)
    assert found["settings"]["variable"] == "unknown variable TINTYPE_MODEL; did you mean TINTYPE_MODELS?"


def test_vae_that_is_not_here_is_a_problem(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """A VAE on the hub must be in the cache, like a model; a path that exists is accepted."""
    code, found, errors = doctor(capsys, "--vae", "owner/tiny-vae")
    assert code == 2
    (problem,) = found["settings"]["problems"]
    assert problem == "owner/tiny-vae is not in the hub's cache; download it with `tintype pull owner/tiny-vae`"
    assert problem in errors
    (home / "vae").mkdir()
    assert doctor(capsys, "--vae", str(home / "vae"))[0] == 0
