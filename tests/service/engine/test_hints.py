"""Images of ControlNets: what the ControlNets read is encoded once for a task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.engine.exact import Bench, ExactModel, spec
from tintype.service.errors import InvalidField, ModelBroken
from tintype.service.job import Control


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InvalidField("controls", "'depth' cannot be used"), "controls[1].name: 'depth' cannot be used"),
        (ModelBroken("toy", ["ControlNet 'depth': it is damaged"]), "model 'toy' can't be served: ControlNet 'depth'"),
    ],
)
def test_an_error_of_a_controlnet_names_its_place(error: Exception, message: str) -> None:
    """If it does not suit the model, the field of the request; if it is damaged, the model fails the request."""

    class Controlled(ExactModel):
        def encode_hint(self, name: str, pixels: Any, draw: Any) -> Any:  # noqa: ARG002
            if name == "depth":
                raise error
            return pixels

    controls = tuple(Control(name=name, image=b"a") for name in ("canny", "depth"))
    levels = np.zeros((3, 64, 64), np.uint8)
    bench = Bench(Controlled(spec=spec(controls=("canny", "depth"))))
    ticket = bench.admit(controls=controls, hints=(levels, levels))
    bench.run()
    assert type(bench.error(ticket)) is type(error)
    assert str(bench.error(ticket)).startswith(message)
