"""A plugin is chosen after CUDA and before the CPU, automatically only on a GPU."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tintype.service.models.runtime import nvidia, providers
from tintype.service.models.runtime.plugins import table
from tintype.service.models.runtime.providers import Probe, ProviderUnavailable, choose

if TYPE_CHECKING:
    from collections.abc import Callable

GPU = Probe("", ("Maker X",))
SOFTWARE = Probe("", ("llvmpipe (software)",), software=True)
BROKEN = Probe("it computes wrong values: off by 1 of the largest value", ("Maker X",))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets which plugins are installed with which test results, and whether there is a GPU."""

    def make(results: dict[str, Probe], *, has_gpu: bool = True) -> None:
        plugins = {name: table.PLUGINS.get(name, table.Plugin(name)) for name in results}
        monkeypatch.setattr(table, "installed", lambda: plugins)
        monkeypatch.setattr(table, "has_gpu", lambda: has_gpu)
        monkeypatch.setattr(providers, "run_probe", lambda name: results[name])

    monkeypatch.setattr(nvidia, "has_driver", lambda: False)
    return make


@pytest.mark.parametrize(
    ("results", "chosen"),
    [
        ({}, "cpu"),
        ({"webgpu": GPU}, "webgpu"),
        ({"tensorrt-rtx": GPU, "webgpu": GPU}, "tensorrt-rtx"),
        ({"tensorrt-rtx": BROKEN, "webgpu": GPU}, "webgpu"),
        ({"webgpu": BROKEN}, "cpu"),
        ({"webgpu": SOFTWARE}, "cpu"),
        ({"mlx": GPU}, "mlx"),
    ],
)
def test_the_first_plugin_with_a_gpu_is_the_default(
    machine: Callable[..., None], results: dict[str, Probe], chosen: str
) -> None:
    """It must compute correctly; a software adapter is slower than the CPU."""
    machine(results)
    assert choose.__wrapped__(()) == chosen


def test_cuda_precedes_plugins(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA that computes correctly is the default where a plugin would work as well."""
    machine({"webgpu": GPU, "cuda": Probe("")})
    monkeypatch.setattr(nvidia, "has_driver", lambda: True)
    monkeypatch.setattr(table, "installed", lambda: {"webgpu": table.PLUGINS["webgpu"]})
    monkeypatch.setattr(providers, "_built_in", lambda: ["cuda", "cpu"])
    assert providers.available() == ["cuda", "webgpu", "cpu"]
    assert choose.__wrapped__(()) == "cuda"


def test_without_a_gpu_no_plugin_is_loaded(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a GPU an installed plugin costs nothing."""
    machine({"webgpu": GPU}, has_gpu=False)
    monkeypatch.setattr(providers, "run_probe", lambda _: pytest.fail("the plugin was tested"))
    assert choose.__wrapped__(()) == "cpu"


def test_a_named_plugin_may_be_software(machine: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    """The log names the adapter, and says that the CPU is faster."""
    machine({"webgpu": SOFTWARE}, has_gpu=False)
    with caplog.at_level(logging.INFO):
        assert choose.__wrapped__(("webgpu", "cpu")) == "webgpu"
    assert "provider webgpu computes on llvmpipe (software)" in caplog.text
    assert "usually more slowly than the provider cpu" in caplog.text


def test_operators_that_run_on_the_cpu_are_logged(
    machine: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """A plugin that computes an operator wrongly is used without it."""
    machine({"webgpu": Probe("", ("Maker X",), wrong=("MultiHeadAttention",))})
    assert choose.__wrapped__(()) == "webgpu"
    assert "provider webgpu computes MultiHeadAttention wrongly here: these nodes run on the CPU" in caplog.text


def test_a_named_plugin_that_fails_its_test_is_skipped(
    machine: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the reason."""
    machine({"webgpu": BROKEN})
    assert choose.__wrapped__(("webgpu", "cpu")) == "cpu"
    assert "provider webgpu is not used: it computes wrong values" in caplog.text


def test_a_plugin_that_is_not_installed_is_named(machine: Callable[..., None]) -> None:
    """With the command that installs it."""
    machine({})
    with pytest.raises(
        ProviderUnavailable, match=r"'webgpu' is not in .*; install it with `pip install '\.\[webgpu\]'`"
    ):
        choose.__wrapped__(("webgpu",))
