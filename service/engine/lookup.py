"""Whose model is there, whose is on its way, and whose can't be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ..errors import TintypeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..models import Model, Repository
    from .task import Task

Found: TypeAlias = "Model | TintypeError | None"


def looked_up(tasks: Iterable[Task], repository: Repository) -> Iterator[tuple[Task, Found]]:
    """Yield the tasks that have not started, each with its model, None while it is loading, or what is wrong with it.

    A model that was dropped meanwhile begins to load again.
    """
    found: dict[str, Found] = {}
    for task in tasks:
        if not task.started:
            name = task.plan.model
            if name not in found:
                found[name] = _find(repository, name)
            yield task, found[name]


def _find(repository: Repository, name: str) -> Found:
    try:
        return repository.get(name)
    except TintypeError as error:
        return error
