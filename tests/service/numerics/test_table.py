"""The table of coefficients and its validation."""

import dataclasses

import numpy as np
import pytest

from tintype.service.numerics import Table


def small_table(**changes: object) -> Table:
    """Return a table of two calls with a history of two, with some fields changed."""
    columns = dict.fromkeys(("timesteps", "p", "q", "a", "d", "p0", "q0"), np.ones(2))
    base = {**columns, "b": np.array([[1.0, 0.0], [1.0, 1.0]]), "alphas": np.ones(3), "sigmas": np.ones(3), "init": 1.0}
    return Table(**{name: np.array(v) if name != "init" else v for name, v in (base | changes).items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": np.ones(3)}, r"q has shape \(3,\), not \(2,\)"),
        ({"alphas": np.ones(2)}, r"alphas has shape \(2,\), not \(3,\)"),
        ({"b": np.ones(2)}, r"b has shape \(2,\), not \(2, 0\)"),
        ({"d": np.array([1.0, np.nan])}, "d is not finite"),
        ({"p0": np.array([np.inf, 1.0])}, "p0 is not finite"),
        ({"b": np.ones((2, 2))}, "history from before the first call"),
    ],
)
def test_invalid_tables_are_rejected(changes: dict[str, object], message: str) -> None:
    """Wrong shapes, non-finite numbers and missing history raise ValueError."""
    with pytest.raises(ValueError, match=message):
        small_table(**changes)


def test_the_numbers_of_a_call_are_those_of_the_columns() -> None:
    """They are Python's: a number of NumPy would make the arithmetic of float32 arrays that of float64."""
    table = small_table(p=np.array([0.1, 0.3]))
    assert [call.p for call in table.calls] == [0.1, 0.3]
    assert [call.b for call in table.calls] == [(1.0, 0.0), (1.0, 1.0)]
    columns = ("timestep", "p", "q", "a", "d")
    assert {type(getattr(call, name)) for call in table.calls for name in columns} == {float}
    assert {type(weight) for call in table.calls for weight in call.b} == {float}


def test_table_is_frozen() -> None:
    """Rows share a table, so neither its fields nor its arrays can be changed."""
    table = small_table()
    assert (len(table), table.history, table.stochastic) == (2, 2, True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.init = 2.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        table.a[0] = 2.0
