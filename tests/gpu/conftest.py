"""What holds for tests on a GPU."""

import pytest


@pytest.fixture(autouse=True)
def as_it_is_written(pytestconfig: pytest.Config) -> None:
    """Without the checks of shapes around every function."""
    if pytestconfig.getoption("jaxtyping_packages"):
        pytest.skip("what checks shapes around functions cannot be compiled: `make gpu`")
