"""What all divergences have in common: shapes, and the names they are called by."""

from __future__ import annotations

import pytest
import torch

from tutelage.divergences import TABLE, forward_kl
from tutelage.errors import TutelageError


def test_rows_of_different_shapes_are_refused() -> None:
    """No broadcasting: two vocabularies of different size are not compared by accident."""
    with pytest.raises(TutelageError, match=r"forward_kl got rows of shape \(2, 3\) and \(2, 4\)"):
        forward_kl(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(TutelageError, match="share"):
        forward_kl(torch.zeros(2, 3), torch.zeros(3))


@pytest.mark.parametrize("name", TABLE)
def test_a_name_of_the_table_is_an_attribute_and_says_what_it_is(name: str) -> None:
    """`from tutelage.divergences import NAME` works, whatever file was imported before."""
    import tutelage.divergences as family

    thing = getattr(family, name)
    assert callable(thing)
    assert thing.__name__ == name
    assert name in dir(family)
    assert thing.__doc__
