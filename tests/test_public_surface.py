"""What `import tutelage` offers is listed here, so that it grows only on purpose."""

import subprocess
import sys

import pytest

import tutelage

SURFACE = {
    "Recipe",
    "TutelageError",
    "check",
    "citations",
    "constraints",
    "distil",
    "distribution",
    "divergences",
    "estimators",
    "evaluation",
    "loss",
    "plans",
    "recipes",
    "samples",
    "teachers",
}


def test_the_public_names_are_these():
    """A name that is added here is a promise; write it into the CHANGELOG."""
    assert set(tutelage.__all__) == SURFACE
    assert {*SURFACE, "__version__"} == set(dir(tutelage))


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_every_public_name_is_there(name):
    """Names are loaded when they are asked for; none is a dead letter."""
    assert getattr(tutelage, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    """The lazy lookup does not hide a slip."""
    with pytest.raises(AttributeError, match="has no attribute 'distill'"):
        tutelage.distill  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import tutelage",
        "import tutelage.citations, tutelage.registry, tutelage.objective",
        "from tutelage import teachers, divergences, samples, estimators, constraints, plans",
        "import tutelage.recipes; tutelage.recipes.families()",
        "import tutelage.cli",
    ],
)
def test_what_must_be_quick_loads_no_torch(statement):
    """Describing, listing and reading a recipe work before anything heavy is imported."""
    heavy = "'torch', 'transformers', 'peft', 'accelerate', 'datasets', 'numpy', 'jaxtyping', 'rich'"
    code = f"{statement}\nimport sys\nassert not {{{heavy}}} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
