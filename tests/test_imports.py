"""The house has one direction: a module imports only what stands to its left."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tutelage"

FAMILIES = ("teachers", "samples", "estimators", "constraints", "plans")
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "citations", "compiled", "shapes", "seeds", "objective"),
    ("files", "numerics", "registry", "schedules"),
    ("interfaces",),
    ("distribution", "text", "privacy"),
    ("divergences", "models", "stores"),
    ("clients",),
    FAMILIES,
    ("evaluation",),
    ("recipes",),
    ("forecast",),
    ("run",),
    ("serving",),
    ("conformance",),
    ("report",),
    ("reproductions",),
    ("api",),
    ("cli",),
    ("__main__",),
)
LAYER = {name: place for place, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def noun(path: Path) -> str:
    """The folder or top-level file that a module belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below ``node`` that is not for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from executed(child)


def own_imports(node: ast.AST) -> Iterator[str]:
    """The nouns of tutelage that the statements below ``node`` import when they run.

    What stands under ``if TYPE_CHECKING:`` is a name for readers and type checkers and never runs.
    """
    for line in executed(node):
        if isinstance(line, ast.Import):
            names = [alias.name for alias in line.names]
        elif isinstance(line, ast.ImportFrom):
            assert line.level == 0, "imports are absolute"
            module = line.module or ""
            # `from tutelage import run` imports a module of ours by name.
            names = [f"tutelage.{alias.name}" for alias in line.names] if module == "tutelage" else [module]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("tutelage."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_its_left(path):
    """Left means an earlier layer; within a layer only a noun's own files may be imported."""
    here = noun(path)
    assert here in LAYER, f"'{here}' has no place in the order of imports"
    for imported in own_imports(ast.parse(path.read_text(encoding="utf-8"))):
        assert imported == here or LAYER[imported] < LAYER[here], f"{path.name} imports tutelage.{imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_import_of_ours_is_hidden_in_a_function(path):
    """Only the command line may, which must not load torch, and the lazy ``__getattr__`` of a package."""
    if noun(path) == "cli":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and not (
            node.name == "__getattr__" and path.name == "__init__.py"
        ):
            assert not list(own_imports(node)), f"{path.name}: {node.name} hides an import"


def test_the_order_puts_every_noun_in_one_place():
    """A noun that stood in two layers would make the order mean nothing."""
    assert sum(map(len, LAYERS)) == len(LAYER)
