"""A graph's convolution adds the adapters' output, for all rows or for each row, for any shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.models.graph_source import OnnxFile

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

from tintype.export.components.component import Component  # noqa: E402
from tintype.export.components.tensor_specs import TensorSpec  # noqa: E402
from tintype.export.graph import adapter_inputs, weights  # noqa: E402 - they need torch
from tintype.export.graph.tracing import float16_weights, trace  # noqa: E402
from tintype.service.models.adapters.adapters import Adapters  # noqa: E402
from tintype.service.models.adapters.layer_sizes import layer_sizes  # noqa: E402
from tintype.service.models.runtime.runtime import Runtime  # noqa: E402
from tintype.service.models.runtime.session import Session  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.adapters.adapters import AdapterWeights

LAYERS: dict[str, dict[str, Any]] = {
    "3 x 3": {"kernel_size": 3, "padding": 1},
    "3 x 3, stride 2": {"kernel_size": 3, "padding": 1, "stride": 2},
    "3 x 3, stride 2, no padding": {"kernel_size": 3, "stride": 2},
    "patches": {"kernel_size": 2, "stride": 2},
    "5 x 3, dilated": {"kernel_size": (5, 3), "padding": (4, 1), "dilation": (2, 1), "bias": False},
    "1 x 1": {"kernel_size": 1},
    "1 x 1, stride 2": {"kernel_size": 1, "stride": 2},
}
WIDE, OUT = 6, 5
ROWS: list[tuple[AdapterWeights, ...]] = [
    ((), (), ()),
    ((("ink", 0.7),),) * 3,
    ((("ink", -1.0),), (), (("clay", 2.0), ("ink", 0.5))),
]


class Net(torch.nn.Module):  # type: ignore[name-defined]
    """One convolution of `options`, called `conv`."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(WIDE, OUT, **options)
        self.config = None

    def forward(self, x: Any) -> Any:
        return self.conv(x)


def write(net: Net, path: Path, *, half: bool = False, store: Any = weights.unchanged) -> None:
    """Write the graph of a net, with inputs for adapters."""
    axes = {"x": TensorSpec(("batch_size", WIDE, "height", "width")), "y": TensorSpec(("batch_size", OUT, "h", "w"))}
    component = Component(
        folder="unet", module=net, call=lambda net, x: (net(x),), inputs={"x": axes["x"]}, outputs={"y": axes["y"]}
    )
    path.parent.mkdir()
    with float16_weights(net) if half else torch.no_grad(), adapter_inputs.record_adaptable_layers(net) as layers:
        model = trace(component, half=half)
        adapter_inputs.add_inputs(model, layers)
        weights.write(model, net.state_dict(), path, store=store)


def adapters(folder: Path, session: Session) -> tuple[Adapters, dict[str, Any]]:
    """Return two adapters of the convolution, of ranks 2 and 3, and the change of its weights by each."""
    from safetensors.torch import save_file  # noqa: PLC0415

    torch.manual_seed(1)
    *wide, out = layer_sizes(session.optional)["conv"]
    added = {}
    (folder / "loras").mkdir(exist_ok=True)
    for name, rank in (("ink", 2), ("clay", 3)):
        a, b = torch.randn(*wide, rank) / 4, torch.randn(rank, out) / 4
        save_file({"unet.conv.A": a, "unet.conv.B": b}, folder / "loras" / f"{name}.safetensors")
        added[name] = (a @ b).movedim(-1, 0)
    return Adapters(folder, {"unet": layer_sizes(session.optional)}), added


def expected(net: Net, x: Any, rows: tuple[AdapterWeights, ...], added: dict[str, Any]) -> Any:
    """Return the net's output for each row with the weights changed by the row's adapters."""
    made = []
    for row, loras in zip(x, rows, strict=True):
        weight = net.conv.weight.detach().float()
        for name, factor in loras:
            weight = weight + factor * added[name].reshape(weight.shape)
        made.append(net.conv._conv_forward(row[None], weight, net.conv.bias))
    return torch.cat(made).detach().numpy()


@pytest.mark.parametrize("case", LAYERS)
def test_a_convolution_adds_its_adapters(case: str, tmp_path: Path) -> None:
    """Without adapters, with one for all rows, and with different ones, it equals that of the summed weights."""
    net = Net(LAYERS[case])
    write(net, tmp_path / "unet" / "model.onnx")
    session = Session(OnnxFile(tmp_path / "unet" / "model.onnx"), Runtime("cpu", 1))
    made, added = adapters(tmp_path, session)
    for rows, size in [(rows, size) for rows in ROWS for size in ((16, 24), (10, 9))]:
        x = torch.randn(len(rows), WIDE, *size)
        ours = session.run("y", x=x.numpy(), **made.graph_inputs("unet", rows))
        np.testing.assert_allclose(ours, expected(net, x, rows, added), atol=1e-4)


@pytest.mark.parametrize("precision", ["half", "as_float16", "as_int8"])
def test_adapters_are_not_rounded_with_the_weights(precision: str, tmp_path: Path) -> None:
    """Adapters are not rounded with the weights; computing in float16 rounds all values."""
    torch.manual_seed(2)
    net = Net({"kernel_size": 3, "padding": 1})
    net.conv.weight.data = net.conv.weight.data.half().float()
    half = precision == "half"
    write(
        net,
        tmp_path / "unet" / "model.onnx",
        half=half,
        store=weights.unchanged if half else getattr(weights, precision),
    )
    session = Session(OnnxFile(tmp_path / "unet" / "model.onnx"), Runtime("cpu", 1))
    made, added = adapters(tmp_path, session)
    for rows in ROWS:
        x = torch.randn(3, WIDE, 16, 24)
        ours = session.run("y", x=x.numpy(), **made.graph_inputs("unet", rows))
        limit = {"half": 2e-2, "as_float16": 1e-4, "as_int8": 5e-2}[precision]
        np.testing.assert_allclose(ours, expected(net, x, rows, added), atol=limit)


def test_a_row_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    """Adapters and extreme values of other rows do not change a row's numbers."""
    net = Net({"kernel_size": 3, "padding": 1})
    write(net, tmp_path / "unet" / "model.onnx")
    session = Session(OnnxFile(tmp_path / "unet" / "model.onnx"), Runtime("cpu", 1))
    made, _ = adapters(tmp_path, session)
    rows = ROWS[2]
    x = torch.randn(3, WIDE, 8, 8).numpy()
    x[2] *= 1e30
    together = session.run("y", x=x, **made.graph_inputs("unet", rows))
    for n, loras in enumerate(rows[:2]):
        alone = session.run("y", x=x[n : n + 1], **made.graph_inputs("unet", [loras]))
        np.testing.assert_allclose(together[n : n + 1], alone, atol=1e-6)


def test_grouped_convolutions_take_no_adapters() -> None:
    """The change of a convolution with groups is not one product of A and B."""
    with adapter_inputs.record_adaptable_layers(Net({"kernel_size": 3})) as layers:
        assert layers == {}
    net = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=2), torch.nn.Conv2d(4, 4, 3, padding_mode="circular"))
    with adapter_inputs.record_adaptable_layers(net) as layers:
        net(torch.zeros(1, 4, 9, 9))
        assert layers == {}
