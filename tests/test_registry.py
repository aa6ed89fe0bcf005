"""Tables: what is read from the source without importing it is what the imported thing has."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import textwrap
from dataclasses import is_dataclass

import pytest

from tutelage.citations import PAPERS
from tutelage.errors import UnknownName
from tutelage.recipes import families
from tutelage.recipes.values import wanted
from tutelage.registry import Entry, Table, options

ENTRIES = [(family, name) for family, table in families().items() if family != "recipes" for name in table]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a module ``made.it`` and gives an entry for the thing in it called ``Thing``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "__init__.py").touch()

    def write(name: str, source: str) -> Entry:
        (tmp_path / "made" / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        return Entry(f"made.{name}:Thing")

    yield write
    for module in [name for name in sys.modules if name.startswith("made")]:
        del sys.modules[module]


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_options_read_from_the_source_are_those_of_the_thing(family, name):
    """Names, order and defaults agree with what Python itself says about the imported object."""
    entry = families()[family][name]
    thing = entry.load()
    if is_dataclass(thing):
        has = {
            field.name: field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory()
            for field in dataclasses.fields(thing)
            if field.init and field.repr and not field.name.startswith("_")
        }
        missing = dataclasses.MISSING
    else:
        signature = inspect.signature(getattr(thing, "part", thing))
        has = {
            parameter.name: parameter.default
            for parameter in signature.parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        missing = inspect.Parameter.empty
    found = options(entry)
    assert list(found) == list(has)
    for option in found.values():
        assert option.required == (has[option.name] is missing)
        assert option.required or option.default == has[option.name]


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_every_entry_and_every_option_is_explained(family, name):
    """A summary, a help for each option, a type that can be said, a paper that can be cited."""
    entry = families()[family][name]
    assert entry.summary.endswith((".", ":"))
    assert entry.paper is None or entry.paper in PAPERS
    for option in options(entry).values():
        assert option.help, f"{name} does not explain `{option.name}`"
        assert wanted(option.annotation)


def test_reading_a_table_imports_nothing(written):
    """Summary and options come from the source file; even a broken import in it does no harm."""
    entry = written(
        "broken",
        '''
        import no_such_library

        MANY = 3

        def Thing(a, b, *, share: float = 0.5, many: int = MANY, must: str):
            """What it is.

            Args:
                share: how much,
                    from 0 to 1.
                many, must: the rest.
            """
        ''',
    )
    found = options(entry)
    assert entry.summary == "What it is."
    assert [(one.name, one.default, one.required) for one in found.values()] == [
        ("share", 0.5, False),
        ("many", 3, False),
        ("must", None, True),
    ]
    assert found["share"].help == "how much, from 0 to 1."
    assert found["many"].help == found["must"].help == "the rest."
    assert "made.broken" not in sys.modules


def test_state_of_a_dataclass_is_not_an_option(written):
    """Loaded weights and the like are marked by `repr=False`, `init=False` or an underscore."""
    entry = written(
        "stateful",
        '''
        from dataclasses import dataclass, field
        from typing import ClassVar, Literal

        Mode = Literal["a", "b"]

        @dataclass
        class Thing:
            """What it is."""

            path: str
            mode: Mode = "a"
            names: tuple[str, ...] = field(default_factory=tuple)
            loaded: object = field(default=None, repr=False)
            made: int = field(init=False)
            kind: ClassVar[str] = "x"
            _hidden: int = 0
        ''',
    )
    found = options(entry)
    assert list(found) == ["path", "mode", "names"]
    assert found["mode"].annotation == "Literal['a', 'b']"
    assert found["names"].default == ()


def test_a_default_that_is_no_literal_is_refused(written):
    """It would have to be written into run.json."""
    entry = written("computed", 'def Thing(*, a: float = 1 / 3) -> None:\n    """It."""\n')
    with pytest.raises(LookupError, match="`a` is not a literal"):
        options(entry)


def test_an_unknown_name_is_answered_with_the_nearest():
    """The error names the family, what there is and the likeliest slip."""
    table = Table("divergences", {"reverse_kl": Entry("x:y"), "forward_kl": Entry("x:z")})
    with pytest.raises(UnknownName) as error:
        table["revers_kl"]
    assert "unknown divergence 'revers_kl'" in str(error.value)
    assert "forward_kl or reverse_kl" in str(error.value)
    assert "write 'reverse_kl'" in str(error.value)
