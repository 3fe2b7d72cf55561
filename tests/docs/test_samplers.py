"""docs/samplers.md: its code runs, its loops agree with the tables, and its table lists every sampler."""

from __future__ import annotations

import doctest
import re
from typing import Any

import numpy as np
import pytest

from tests.support.numerics.gaussian import posterior_mean, run
from tests.support.source import ROOT
from tintype.service.numerics import SAMPLERS, SCHEDULES, Diffusion, Prediction, make_table

PAGE = (ROOT / "docs" / "samplers.md").read_text("utf-8")
DERIVATION = PAGE.partition("## From the loop to the table\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DERIVATION, re.MULTILINE | re.DOTALL)
ONE = np.ones(1)


def test_code_on_the_page_runs() -> None:
    """Every example of the derivation prints what the page shows."""
    names: dict[str, Any] = {}
    runner = doctest.DocTestRunner()
    for block in BLOCKS:
        if ">>>" in block:
            examples = doctest.DocTestParser().get_doctest(block, {}, "samplers.md", None, None)
            examples.globs = names  # the blocks of the page share their names
            runner.run(examples, clear_globs=False)
        else:
            exec(block, names)  # noqa: S102 - code of our own page
    assert runner.summarize(verbose=False) == (0, runner.tries)
    assert runner.tries > 10


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 30])
def test_loops_end_as_their_tables(name: str, steps: int) -> None:
    """The loop on the page and the table end at the same point, with an exact denoiser."""
    names: dict[str, Any] = {"np": np}
    for block in BLOCKS:
        if ">>>" not in block:
            exec(block, names)  # noqa: S102 - code of our own page
    table = make_table(Diffusion.from_config({"_class_name": "EulerDiscreteScheduler"}), steps, sampler=name)
    sigmas = table.sigmas / table.alphas
    by_loop = names[f"sample_{name}"](lambda x, sigma: posterior_mean(x, 1.0, sigma, ONE), 1.3 * ONE, sigmas)
    by_table = run(table, Prediction.EPSILON, 1.3 * ONE * table.alphas[0], ONE, np.zeros(len(table)))
    assert by_loop * table.alphas[-1] == pytest.approx(by_table, rel=1e-10)


@pytest.mark.parametrize("name", [*SAMPLERS, *SCHEDULES])
def test_every_name_is_on_the_page(name: str) -> None:
    """The tables list every sampler and every schedule."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert any(f"`{name}`" in row for row in rows)
