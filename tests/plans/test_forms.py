"""The laws as something to fit agree with the laws, and their slopes with differences."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.plans.forms import BROKEN, CUT_OFF, SUPERVISED, Form, Points
from tutelage.plans.published import published

SIZE, DATA = np.log(np.array([1e8, 1e9, 1e10])), np.log(np.array([2e9, 2e11, 1e10]))
TEACHER, UNAIDED = np.log(np.array([2.2, 1.9, 2.6])), np.log(np.array([2.9, 2.2, 2.3]))
POINTS = Points(SIZE, DATA, TEACHER, UNAIDED)
FORMS = {"supervised": SUPERVISED, "full": BROKEN, "reduced": CUT_OFF}


def somewhere(form: Form, count: int = 5) -> np.ndarray:
    """Starts of the form."""
    return form.starts(count, form.limits({}), np.random.default_rng(3))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_slopes_are_those_of_central_differences(form: Form) -> None:
    """An analytic gradient that is wrong makes a fit that stops early, and nobody sees why."""
    at = somewhere(form)
    slopes = form.evaluate(at, POINTS)[1]
    step = 1e-6
    for index in range(len(form.names)):
        moved = np.eye(len(form.names))[index] * step
        above = form.evaluate(at + moved, POINTS, slopes=False)[0]
        below = form.evaluate(at - moved, POINTS, slopes=False)[0]
        np.testing.assert_allclose(slopes[:, index], (above - below) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_candidate_predicts_what_its_law_predicts(form: Form) -> None:
    """Two writings of one formula: the batched one of the fit, and the law's."""
    for candidate in somewhere(form):
        law = form.read(candidate)
        arguments = (
            (np.exp(SIZE), np.exp(DATA))
            if form is SUPERVISED
            else (np.exp(SIZE), np.exp(DATA), TEACHER, UNAIDED)
        )
        np.testing.assert_allclose(
            form.evaluate(candidate[None], POINTS)[0][0], law.log_loss(*arguments), rtol=1e-12
        )
        np.testing.assert_allclose(form.candidate(law), candidate, rtol=1e-12)


def test_the_published_law_is_the_cut_off_that_its_kappa_says() -> None:
    """c1 is so large that the broken power law is an exponential cut-off, to a few thousandths."""
    full = published("reconciled").distillation
    reduced = {name: getattr(full, name) for name in CUT_OFF.names}
    ours = np.exp(CUT_OFF.evaluate(np.log(list(reduced.values()))[None], POINTS)[0][0])
    theirs = np.exp(BROKEN.evaluate(BROKEN.candidate(full)[None], POINTS)[0][0])
    np.testing.assert_allclose(ours, theirs, rtol=5e-3)


def test_zeros_of_the_papers_grid_are_replaced() -> None:
    """f1 = 0 divides by zero and gamma = 0 kills the gradient: no start has either."""
    drawn = np.exp(somewhere(BROKEN, 4000))
    for name in ("f1", "gamma", "alpha", "beta"):
        assert drawn[:, BROKEN.names.index(name)].min() >= 0.05 - 1e-12
