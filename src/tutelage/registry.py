"""Tables of names: one line says where a thing lives, which paper it is from and which laws it claims.

Reading a table imports nothing; the summary shown by ``tutelage list`` is the first line of the
docstring, read from the source file. A thing is imported when somebody asks for it by name.
"""

import ast
import functools
import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError, UnknownName, listed, nearest


@dataclass(frozen=True)
class Entry:
    """One line of a table.

    Attributes:
        place: ``module:object``, imported only when asked for.
        paper: key in `tutelage.citations`, or None where the thing is folklore.
        laws: names of the laws in ``tests/laws`` that this entry claims to keep.
        against: for a divergence, what it is compared with unless a recipe says otherwise.
        trains: whether it can be a term of an objective (a measure cannot: it has no gradient).
        writers: for samples, who can have written a row; empty where that is not known beforehand.
    """

    place: str
    paper: str | None = None
    laws: frozenset[str] = field(default_factory=frozenset)
    against: str = "teacher"
    trains: bool = True
    writers: frozenset[str] = field(default_factory=frozenset)

    @property
    def module(self) -> str:
        """The dotted name of the module that holds it."""
        return self.place.partition(":")[0]

    @property
    def attribute(self) -> str:
        """The object's name inside its module."""
        return self.place.partition(":")[2]

    def load(self) -> Any:
        """Import and return the thing itself."""
        return getattr(importlib.import_module(self.module), self.attribute)

    @property
    def summary(self) -> str:
        """First line of the docstring, read from the source without importing it."""
        return _summary(self)


class Table(Mapping[str, Entry]):
    """The names of one family, such as ``divergences``.

    Args:
        family: what the names name, in the plural; it is the heading in ``tutelage list``.
        entries: the lines of the table.
    """

    def __init__(self, family: str, entries: Mapping[str, Entry]) -> None:
        self.family = family
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise self.unknown(name)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def load(self, name: str) -> Any:
        """The thing called ``name``.

        Raises:
            UnknownName: there is none; the error names the nearest.
        """
        return self[name].load()

    def unknown(self, name: str, where: str = "") -> TutelageError:
        """The error for a name that is not in the table; ``where`` is put in front (file and line)."""
        close = nearest(str(name), self._entries)
        singular = self.family.removesuffix("s")
        return UnknownName(
            f"{where}unknown {singular} '{name}'",
            expected=listed(self._entries) if self._entries else f"no {self.family} exist yet",
            fix=(f"write '{close}' (the nearest name); " if close else "")
            + f"`tutelage list {self.family}` explains each",
        )

    def attribute(self, package: str, name: str) -> Any:
        """What a family's package gives for ``name``: its ``__getattr__``, so that ``import`` stays light."""
        for entry in self._entries.values():
            if entry.attribute == name:
                return entry.load()
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def claiming(self, law: str) -> list[str]:
        """Names of the entries that claim a law."""
        return [name for name, entry in self._entries.items() if law in entry.laws]


@dataclass(frozen=True)
class Option:
    """One word that a recipe may say about an entry.

    Attributes:
        name: the key.
        annotation: its type as the source spells it, such as ``float | None``.
        default: what holds where the recipe is silent; None if `required`.
        required: whether the recipe must say it.
        help: what it means, from the docstring; one line.
    """

    name: str
    annotation: str
    default: Any
    required: bool
    help: str


@functools.cache
def options(entry: Entry) -> dict[str, Option]:
    """What a recipe may say about an entry, read from the source without importing it.

    For a function those are its keyword-only arguments, for a dataclass its fields, less those that
    begin with an underscore or are ``field(init=False)`` or ``field(repr=False)`` (state, such as weights
    once loaded), those of a parent class of ours first. A
    default must be a literal, a literal constant of the same module or ``field(default_factory=...)``
    of a builtin, because it is written into ``run.json``.

    Raises:
        LookupError: the source does not define the entry, or a default is not a literal.
    """
    source = _source(entry.module)
    node = _definition(source, entry)
    told = _explained(ast.get_docstring(node) or "")
    pairs = _fields(node) if isinstance(node, ast.ClassDef) else _keywords(node)
    aliases = _Aliases(source)
    found = _inherited(source, node) if isinstance(node, ast.ClassDef) else {}
    for name, type_, default in pairs:
        annotation = ast.unparse(aliases.visit(type_)) if type_ else "Any"
        try:
            required, value = _default(default, source)
        except ValueError:
            raise LookupError(f"{entry.place}: the default of `{name}` is not a literal") from None
        found[name] = Option(name, annotation, value, required, told.get(name, ""))
    return found


class _Aliases(ast.NodeTransformer):
    """Writes out names such as ``Mode = Literal["a", "b"]`` that the module gives to types."""

    def __init__(self, source: ast.Module) -> None:
        self.types = {
            ast.unparse(line.targets[0]): line.value
            for line in source.body
            if isinstance(line, ast.Assign) and isinstance(line.value, ast.Subscript)
        }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.types.get(node.id, node)


def _inherited(source: ast.Module, node: ast.ClassDef) -> dict[str, Option]:
    """Options of the parent classes that are imported by name from a module of ours."""
    found: dict[str, Option] = {}
    imported = {
        name.asname or name.name: f"{line.module}:{name.name}"
        for line in source.body
        if isinstance(line, ast.ImportFrom) and (line.module or "").startswith("tutelage.")
        for name in line.names
    }
    for base in node.bases:
        if ast.unparse(base) in imported:
            found |= options(Entry(imported[ast.unparse(base)]))
    return found


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    for line in node.body:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        name, annotation = line.target.id, line.annotation
        off = {word.arg for word in _call(line.value) if ast.unparse(word.value) == "False"}
        hidden = off & {"init", "repr"}
        if not (name.startswith("_") or hidden or "ClassVar" in ast.unparse(annotation)):
            yield name, annotation, line.value


def _keywords(node: ast.FunctionDef) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        yield argument.arg, argument.annotation, default


def _call(value: ast.expr | None) -> list[ast.keyword]:
    """The keywords of ``field(...)``, or none if the value is something else."""
    is_field = isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "field"
    return value.keywords if is_field and isinstance(value, ast.Call) else []


def _default(value: ast.expr | None, source: ast.Module) -> tuple[bool, Any]:
    """Whether a value is required, and its default. Raises ValueError if that is not a literal."""
    words = {word.arg: word.value for word in _call(value)}
    if value is None or (_call(value) and not words.keys() & {"default", "default_factory"}):
        return True, None
    if "default_factory" in words:
        empty = {"dict": {}, "list": [], "tuple": (), "frozenset": (), "set": ()}
        factory = ast.unparse(words["default_factory"])
        if factory not in empty:
            raise ValueError(factory)
        return False, empty[factory]
    literal = words.get("default", value)
    if isinstance(literal, ast.Name):
        name = literal.id
        assigned = [line for line in source.body if isinstance(line, ast.Assign)]
        literal = next((line.value for line in assigned if ast.unparse(line.targets[0]) == name), literal)
    return False, ast.literal_eval(literal)


def _explained(docstring: str) -> dict[str, str]:
    """The help of each name under ``Args:`` and ``Attributes:`` of a docstring."""
    told: dict[str, str] = {}
    section, names = "", []
    for line in docstring.splitlines():
        if not line.startswith(" "):
            section, names = line.strip(), []
        elif section in ("Args:", "Attributes:"):
            start = re.match(r"    ([\w, `]+): (.*)", line)
            if start:
                names = [name.strip(" `") for name in start[1].split(",")]
                told.update(dict.fromkeys(names, start[2].strip()))
            elif line.startswith("     "):
                told.update({name: f"{told[name]} {line.strip()}" for name in names})
    return told


def _summary(entry: Entry) -> str:
    return (ast.get_docstring(_definition(_source(entry.module), entry)) or "").partition("\n")[0]


def _definition(source: ast.Module, entry: Entry) -> ast.FunctionDef | ast.ClassDef:
    for node in source.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == entry.attribute:
            return node
    raise LookupError(f"{entry.module} defines no {entry.attribute}")


@functools.cache
def _source(module: str) -> ast.Module:
    parent, _, leaf = module.rpartition(".")
    spec = importlib.util.find_spec(parent)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)))
    path = folder / f"{leaf}.py"
    return ast.parse((path if path.exists() else folder / leaf / "__init__.py").read_text(encoding="utf-8"))
