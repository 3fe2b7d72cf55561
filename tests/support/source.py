"""The project's own source, for tests of its structure: modules, the imports of each, and circles among them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
PACKAGES = ("service", "gateway", "cluster", "cli", "export", "training")
"""Top-level folders of code; each is installed as `tintype.<folder>`."""
FOLDERS = tuple(folder for folder in PACKAGES if (ROOT / folder).is_dir())


class Import(NamedTuple):
    """One imported name: `from <level dots><module> import <name>`; `name` is empty for a plain `import`."""

    level: int
    module: str
    name: str

    @property
    def absolute(self) -> str:
        """The full dotted name of an absolute import."""
        return f"{self.module}.{self.name}" if self.name else self.module


def modules(folder: str) -> list[Path]:
    """Return the modules under a folder, relative to the root."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py"))


def read(path: Path) -> str:
    """Return the source of a module, its path relative to the root."""
    return (ROOT / path).read_text("utf-8")


@cache
def imports(source: str) -> tuple[Import, ...]:
    """Return every import of a module, at any depth: in functions, and under TYPE_CHECKING."""
    return tuple(_imports(ast.parse(source)))


def _imports(tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(0, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(node.level, node.module or "", alias.name) for alias in node.names)


def dotted(path: Path) -> str:
    """Return the name that a module is imported by: `service/engine/__init__.py` is `tintype.service.engine`."""
    parts = path.with_suffix("").parts
    return ".".join(("tintype", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def import_graph(sources: Mapping[Path, str]) -> dict[str, set[str]]:
    """Return for each module the modules of `sources` that it imports."""
    names = {dotted(path) for path in sources}
    graph: dict[str, set[str]] = {}
    for path, source in sources.items():
        name = dotted(path)
        package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
        found = {_target(names, package, each) for each in imports(source)}
        graph[name] = {target for target in found if target and target != name}
    return graph


def _target(names: set[str], package: list[str], each: Import) -> str:
    """Return the module that an import reads, or an empty string if it is not one of `names`."""
    base = package[: len(package) - each.level + 1] if each.level else []
    module = ".".join([*base, *filter(None, [each.module])])
    return next((name for name in (f"{module}.{each.name}", module) if name in names), "")


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Tarjan, 1972), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)
