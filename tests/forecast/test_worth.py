"""Whether a teacher is worth it: what is certain without a law, and what a law of this text says."""

from __future__ import annotations

import pytest

from tutelage.forecast.probe import carried_on
from tutelage.forecast.worth import MOVED, NO_TEACHER, NOT_KNOWN, WORSE, pilot_steps, worth
from tutelage.plans.law import CutOffLaw, Laws, Ranges, SupervisedLaw
from tutelage.plans.verdict import ALONE, DISTIL
from tutelage.recipes import Recipe, load

OWN = Laws(
    "own",
    SupervisedLaw(E=1.0, A=200.0, B=300.0, alpha=0.4, beta=0.4, gamma=0.5),
    CutOffLaw(A=100.0, B=2000.0, alpha=0.3, beta=0.5, gamma=0.8, c0=2.0, kappa=2.2, f1=0.09),
    Ranges((1e4, 1e7), (1e4, 1e8)),
    "a study of this text",
    smallest_tokens=1e3,
)


@pytest.fixture(scope="module")
def demo() -> Recipe:
    """The demo's arm against the teacher."""
    return load("demo", ["seeds=[0]"]).arms["forward_kl"]


def nats(teacher: float, student: float = 3.0, unigram: float = 6.0, **others):
    """What a probe found, with narrow intervals."""

    def interval(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}

    return {
        "held_out": True,
        "led": False,
        "student_nats": interval(student),
        "teacher_nats": interval(teacher),
        "teacher_minus_student": interval(teacher - student),
        "unigram_nats": unigram,
        **others,
    }


def piloted(student: float, teacher: float):
    """What a pilot found."""
    return {
        "pilot": {"steps": 10, "student_nats": student, "minus_teacher": {"mean": student - teacher}},
    }


@pytest.mark.parametrize(
    "found",
    [
        nats(3.2),
        nats(6.5, student=8.0),
        nats(2.9, **piloted(2.85, 2.9)),
        nats(2.9, **piloted(2.9, 2.9)),
    ],
    ids=["behind the untouched student", "behind frequencies", "pilot", "pilot, equal"],
)
def test_a_teacher_that_is_certainly_no_better_is_worse_than_the_text(demo, found):
    """With a law and without one the answer is no, in the words that people look for."""
    for laws in (None, OWN):
        said = worth(demo, found, laws, 400_000, 1e6)
        assert said.no
        assert said.answer == WORSE == "this teacher is worse than training on the text"


def test_a_teacher_within_the_noise_of_the_untouched_student_is_not_called_worse(demo):
    """Nothing is proven by it, and that is said; a pilot that reaches the teacher proves it."""
    for teacher in (2.995, 3.005):
        said = worth(demo, nats(teacher), None, 400_000, 1e6)
        assert (said.answer, said.no) == (NOT_KNOWN, False)
        assert any("does not tell whether it knows more" in caution for caution in said.cautions)
        reached = worth(demo, nats(teacher, **piloted(2.9, teacher)), None, 400_000, 1e6)
        assert (reached.answer, reached.no) == (WORSE, True)
        by_law = worth(demo, nats(teacher), OWN, 400_000, 1e6)
        assert any("does not tell whether it knows more" in caution for caution in by_law.cautions)
        led = worth(demo, nats(teacher) | {"led": True}, None, 400_000, 1e6)
        assert (led.answer, led.no) == (MOVED, False)


def test_without_a_law_of_this_text_nothing_is_claimed(demo):
    """Whether a better teacher stays better is not known; how to know is said."""
    said = worth(demo, nats(2.5, **piloted(2.9, 2.5)), None, 400_000, 1e6)
    assert (said.answer, said.no) == (NOT_KNOWN, False)
    assert "plan sweep" in said.why
    assert "2.5" in said.why


def test_the_law_of_this_text_decides(demo):
    """A teacher above what the student reaches by itself is worse than the text; a fair one is not."""
    alone = float(OWN.supervised.loss(400_000, 1e6))
    worse = worth(demo, nats(alone * 1.02, student=alone * 1.5), OWN, 400_000, 1e6)
    assert worse.no
    assert worse.answer == ALONE
    assert WORSE in worse.why
    assert worse.numbers["ratio"] == pytest.approx(1.02)
    best = min((float(OWN.student_loss(400_000, 1e6, alone * r)), r) for r in (0.6, 0.7, 0.8, 0.9))
    good = worth(demo, nats(alone * best[1], student=alone * 1.5), OWN, 400_000, 1e6)
    assert good.numbers["distilled_nats"] == pytest.approx(best[0])
    assert good.no == (good.answer == ALONE)
    assert (good.answer == DISTIL) == (alone - best[0] > good.numbers["margin_nats"])


def test_what_the_law_says_nothing_about_is_told(demo):
    """Numbers outside its runs are cautions, not silence."""
    said = worth(demo, nats(2.0, student=4.0), OWN, 4_000, 1e9)
    assert sum("outside the runs" in caution for caution in said.cautions) == 2


def test_a_recipe_without_a_teacher_has_no_teacher_to_judge(demo):
    """Fine-tuning is not refused."""
    said = worth(demo, {"held_out": True, "led": False}, None, 1, 1.0)
    assert (said.answer, said.no) == (NO_TEACHER, False)


def test_a_pilot_is_short_and_never_longer_than_the_run():
    """About five percent, from 10 to 100 steps."""
    assert [pilot_steps(n) for n in (3, 64, 1000, 10**6)] == [3, 10, 50, 100]


def answer(**changes):
    """What a trial of a run of 64 steps would answer on a machine without any noise."""
    arm = {
        "steps": 64,
        "order": [5, 6, 7],
        "padded_tokens": [100, 50, 100],
        "computing_seconds": [3.0, 0.5, 1.0],
        "writing_seconds": [0.0, 0.0, 0.0],
        "counted_tokens_per_step": 40.0,
        "rows_per_step": 8,
        "examples": 100,
        "steps_per_collection": 1,
        "padded_tokens_of_run": 4800.0,
        "teacher_seconds": 0.4,
        "beginning_seconds": 0.25,
        "evaluating_seconds": 2.0,
        "saving_seconds": 0.5,
        "leaving_seconds": 1.0,
        **changes,
    }
    fixed = {"untouched_seconds": 3.0, "opening_seconds": 2.0, "concluding_seconds": 4.0}
    return {**fixed, "arms": {"student": arm}}


def test_a_trial_is_carried_on_by_counting():
    """Steps by their tokens, what warms up once, evaluations and checkpoints by their number."""
    recipe = load("dkd", ["training.eval_steps=20", "training.save_steps=32"])
    found = carried_on(recipe, answer(), starting=5.0)
    # 4,800 tokens at 0.01 s, and 2 s more in the first step.
    assert found.training + found.teacher == pytest.approx(50)
    assert found.teacher == pytest.approx(0.4 / 100 * 4800)
    assert found.evaluation == pytest.approx(3 + 4 * 2 + 1)
    assert found.rest == pytest.approx(5 + 2 + 4 + 0.25 + 2 * 0.5)
    assert found.writing == 0


def test_text_is_written_once_a_collection():
    """Sixteen steps use what one wrote; the first writing, which warms up, is not what counts."""
    recipe = load("minillm")
    trial = answer(
        steps_per_collection=16,
        order=[0, 1, 2, 16],
        writing_seconds=[9.0, 0.0, 0.0, 4.0],
        padded_tokens=[100] * 4,
        computing_seconds=[1.0] * 4,
    )
    assert carried_on(recipe, trial, 0.0).writing == pytest.approx(4 * 4.0)


def test_what_a_teacher_wrote_is_found_again_when_a_trial_repeats_a_step():
    """The longest step is made first and third; its third time writes less and says nothing of the others."""
    trial = answer(order=[63, 34, 63], writing_seconds=[1.5, 1.0, 0.25], examples=1000)
    assert carried_on(load("f_distill_js"), trial, 0.0).writing == pytest.approx(64 * 1.0)


def test_every_seed_is_a_run():
    """What is done once for all runs is counted once."""
    one, three = (
        carried_on(load("dkd", [f"seeds={seeds}"]), answer(), 5.0) for seeds in ("[0]", "[0, 1, 2]")
    )
    assert three.training == pytest.approx(3 * one.training)
    assert three.rest - 11.0 == pytest.approx(3 * (one.rest - 11.0))
