"""MiniLLM's estimator against the toys of its specification, where every text can be listed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from listed_texts import MINILLM, TOLERANCE, Toy, double
from torch.testing import assert_close

from tutelage.divergences import TABLE
from tutelage.divergences.fused import evaluate
from tutelage.errors import TutelageError
from tutelage.estimators import PerToken, PolicyGradient
from tutelage.estimators.returns import by_row, summed_after, summed_from
from tutelage.estimators.surrogates import clipped_ratio, positive_ratio
from tutelage.objective import Term

OWN = (Term("reverse_kl", on="student"),)
PLAIN = PolicyGradient(clip=None, length_normalised=False, reduction="sequence_sum")
SINGLE = PerToken(reduction="sequence_sum")
TOYS = ("length_2", "length_3", "end")


def long_part(estimator: PolicyGradient, toy: Toy, behaviour: torch.Tensor) -> torch.Tensor:
    """What the estimator adds to the single part, in the mean."""
    single = SINGLE if not estimator._weighs_single else None
    whole = toy.expected(estimator, OWN, behaviour)
    if single is not None:
        return whole - toy.expected(single, OWN, behaviour)
    alone = dataclasses.replace(estimator, returns="after", single=True)
    nothing = dataclasses.replace(alone, discount=0.0, reward_clip=1e-300)
    return whole - toy.expected(nothing, OWN, behaviour)


@pytest.mark.parametrize("kind", TOYS)
def test_single_and_long_are_the_exact_gradient_of_the_sequence_level_kl(kind: str) -> None:
    """Each part is what the specification prints, and their sum the enumerated gradient (Eq. 3)."""
    toy, known = Toy.of(kind), MINILLM[kind]
    single = toy.expected(SINGLE, OWN, toy.student)
    assert_close(single, double(known["single"]), atol=TOLERANCE, rtol=0)
    assert_close(long_part(PLAIN, toy, toy.student), double(known["long"]), atol=TOLERANCE, rtol=0)
    whole = toy.expected(PLAIN, OWN, toy.student)
    assert_close(whole, double(known["grad_rkl_exact"]), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", TOYS)
def test_length_normalisation_divides_by_what_follows(kind: str) -> None:
    """The mean of the future rewards instead of their sum (Eq. 6 as corrected)."""
    toy, estimator = Toy.of(kind), dataclasses.replace(PLAIN, length_normalised=True)
    found = long_part(estimator, toy, toy.student)
    assert_close(found, double(MINILLM[kind]["long_length_norm"]), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", TOYS)
def test_with_the_teacher_in_every_token_weights_do_what_the_specification_says(kind: str) -> None:
    """By step and up to the token (Eq. 5): what is printed; over the trajectory or by reward: exact."""
    toy, known = Toy.of(kind), MINILLM[kind]["teacher_mixed_alpha_0.2"]
    mixed, exact = toy.mixed(0.2), double(MINILLM[kind]["grad_rkl_exact"])
    unweighted = toy.expected(SINGLE, OWN, mixed)
    assert_close(unweighted, double(known["unweighted_single"]), atol=TOLERANCE, rtol=0)
    long = long_part(PLAIN, toy, mixed)
    assert_close(long, double(known["per_step_weights"]["long"]), atol=TOLERANCE, rtol=0)
    weighted = dataclasses.replace(PLAIN, weighted_single=True)
    single = toy.expected(weighted, OWN, mixed) - long
    assert_close(single, double(known["per_step_weights"]["single"]), atol=TOLERANCE, rtol=0)
    product = dataclasses.replace(PLAIN, importance="product")
    assert_close(
        long_part(product, toy, mixed), double(known["eq5_product_up_to_t_long"]), atol=TOLERANCE, rtol=0
    )
    for importance in ("trajectory", "by_reward"):
        found = toy.expected(dataclasses.replace(PLAIN, importance=importance), OWN, mixed)
        assert_close(found, exact, atol=TOLERANCE, rtol=0)
    by_step = (toy.expected(PLAIN, OWN, mixed) - exact).abs().max()
    assert float(by_step) == pytest.approx(known["max_abs_error_vs_exact"]["per_step"], abs=5e-5)


@pytest.mark.parametrize("kind", TOYS)
def test_the_single_part_makes_one_sample_quieter(kind: str) -> None:
    """The variances of one sample that are printed, with and without the decomposition."""
    toy, known = Toy.of(kind), MINILLM[kind]["one_sample_variance_trace"]
    naive = dataclasses.replace(PLAIN, single=False)
    assert toy.variance(naive, OWN) == pytest.approx(known["naive_R_t"], abs=TOLERANCE)
    assert toy.variance(PLAIN, OWN) == pytest.approx(known["single_plus_long"], abs=TOLERANCE)
    assert_close(
        toy.expected(naive, OWN, toy.student),
        double(MINILLM[kind]["grad_rkl_exact"]),
        atol=TOLERANCE,
        rtol=0,
    )


def test_exact_rewards_give_the_same_mean_with_less_variance() -> None:
    """Minus the divergence at every position instead of the drawn token's log-ratio."""
    toy, exact = Toy.of("length_3"), dataclasses.replace(PLAIN, rewards="exact")
    assert_close(
        toy.expected(exact, OWN, toy.student), toy.expected(PLAIN, OWN, toy.student), atol=1e-12, rtol=0
    )
    assert toy.variance(exact, OWN) < toy.variance(PLAIN, OWN)


@pytest.mark.parametrize("name", ["jensen_shannon", "total_variation", "forward_kl"])
def test_other_divergences_get_the_gradient_of_their_sum_over_own_text(name: str) -> None:
    """Single and long part together are the gradient of ``E_q sum D(p_t, q_t)``, by autograd over texts."""
    toy, divergence = Toy.of("length_3"), TABLE.load(name)
    logits = toy.logits.clone().requires_grad_()
    log_q = logits.log_softmax(1)
    total = torch.zeros((), dtype=torch.float64)
    for text in toy.texts:
        states = toy.states(text)
        values = divergence(log_q, toy.teacher)[states].sum()
        total = total + log_q[states, list(text)].sum().exp() * values
    (expected,) = torch.autograd.grad(total, logits)
    estimator = dataclasses.replace(PLAIN, rewards="exact")
    found = toy.expected(estimator, (Term(name, on="student"),), toy.student)
    assert_close(found, expected.flatten(), atol=1e-12, rtol=0)


def test_returns_are_those_of_the_specification() -> None:
    """Sums from a token on and after it, length-normalised, and with the official code's discount."""
    known = MINILLM["returns"]
    rewards, mask = double([known["r"]]), torch.ones(1, 5, dtype=torch.bool)
    assert_close(summed_from(rewards)[0], double(known["R_t"]), atol=TOLERANCE, rtol=0)
    assert_close(summed_after(rewards, mask)[0], double(known["R_t_plus_1"]), atol=TOLERANCE, rtol=0)
    assert_close(
        PolicyGradient().advantages(rewards, mask)[0], double(known["long_norm"]), atol=TOLERANCE, rtol=0
    )
    discounted = summed_from(rewards, 0.95)[0]
    assert_close(discounted, double(known["official_R_t_gamma_0_95"]), atol=TOLERANCE, rtol=0)
    official = PolicyGradient(returns="from", discount=0.95).advantages(rewards, mask)[0]
    assert_close(official, double(known["official_len_normed"]), atol=TOLERANCE, rtol=0)


@given(
    st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=6), min_size=1, max_size=4), st.integers(0, 3)
)
def test_padding_changes_no_advantage(rows: list[list[float]], padding: int) -> None:
    """Rows of any lengths beside one another have the advantages that each has alone."""
    width = max(map(len, rows)) + padding
    mask = torch.tensor([[i < len(row) for i in range(width)] for row in rows])
    rewards = by_row(double([r for row in rows for r in row]), mask)
    for estimator in (PolicyGradient(), PolicyGradient(returns="from", discount=0.9)):
        together = estimator.advantages(rewards, mask)
        for i, row in enumerate(rows):
            alone = estimator.advantages(double([row]), torch.ones(1, len(row), dtype=torch.bool))
            assert_close(together[i, : len(row)], alone[0], atol=1e-12, rtol=0)
            assert not bool(together[i, len(row) :].any())


@pytest.mark.parametrize("reading", ["ppo", "paper"])
def test_the_clip_is_that_of_the_specification(reading: str) -> None:
    """Four tokens, one a case: values and slopes by ``log q`` of both readings."""
    known = MINILLM["clip"]
    new, old, p = double(known["logq_new"]), double(known["logq_old"]), double(known["p_teacher"])
    behaviour = (known["alpha"] * p + (1 - known["alpha"]) * old.exp()).log()
    weight = old.exp() / behaviour.exp()
    assert_close(weight, double(known["w"]), atol=TOLERANCE, rtol=0)
    told = {"advantage": double(known["A"]), "log_behaviour": old - double(known["w"]).log()}
    value, slope = clipped_ratio.density(
        new, torch.zeros(4).double(), clip=known["eps"], reading=reading, **told
    )
    name = "ppo" if reading == "ppo" else "paper_alg1"
    assert_close(value, double(known[f"{name}_per_token"]), atol=2 * TOLERANCE, rtol=0)
    slopes = known["ppo_dloss_dlogq_per_token" if reading == "ppo" else "paper_dloss_dlogq_per_token"]
    assert_close(slope, double(slopes), atol=2 * TOLERANCE, rtol=0)


def test_k3_has_the_values_of_the_specification() -> None:
    """Never negative, where the log-ratio itself is once below zero."""
    known = MINILLM["k3"]
    log_q, told = double(known["log_q"]), {"log_teacher": double(known["log_p"])}
    value, _ = positive_ratio.density(log_q, torch.zeros(2).double(), **told)
    assert_close(value, double(known["k3"]), atol=TOLERANCE, rtol=0)
    assert_close(log_q - told["log_teacher"], double(known["k1_minus"]), atol=TOLERANCE, rtol=0)


def test_a_student_that_is_its_teacher_learns_nothing() -> None:
    """Rewards, single and long part are zero (law 2)."""
    toy = Toy.of("length_3")
    same = dataclasses.replace(toy, logits=toy.teacher)
    for text in same.texts:
        for estimator in (PolicyGradient(), PLAIN):
            assert float(same.gradient(estimator, OWN, text, same.student).abs().max()) < 1e-14


def test_padding_appended_to_a_batch_changes_nothing() -> None:
    """Loss and gradient of a row with three columns more."""
    toy, text = Toy.of("length_3"), (1, 0, 2)
    found = []
    for padding in (0, 3):
        weight = toy.logits.T.clone().requires_grad_()
        batch, student = toy.batch(text, toy.mixed(0.2), padding=padding), toy.hidden(text, weight)
        counted = {"student": 3, "student rows": 1, "all": 3, "all rows": 1}
        total, _ = evaluate(student, PolicyGradient().terms(OWN, batch, student, toy.told(text), counted))
        (gradient,) = torch.autograd.grad(total, weight)
        found.append((total.detach(), gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_what_it_notes_is_the_mean_reward_and_the_effective_share() -> None:
    """Own text of the student alone has weights of one; what was told is forgotten."""
    toy, estimator = Toy.of("length_2"), PolicyGradient()
    toy.gradient(estimator, OWN, (0, 1), toy.student)
    told = estimator.noted
    assert told["own_effective_share"] == pytest.approx(1)
    logs = toy.logs(toy.teacher, (0, 1)) - toy.logs(toy.student, (0, 1))
    assert told["own_reward"] == pytest.approx(float(logs.mean()))
    assert estimator.noted == {}
    toy.gradient(estimator, OWN, (0, 1), toy.mixed(0.5))
    assert estimator.noted["own_effective_share"] < 1


def test_a_token_that_the_teacher_never_says_is_refused() -> None:
    """An infinite reward is named, not trained on."""
    toy = Toy.of("length_2")
    never = toy.teacher.clone()
    never[0, 2] = -torch.inf
    with pytest.raises(TutelageError, match="1 drawn tokens have a reward that is not finite"):
        dataclasses.replace(toy, teacher=never).gradient(PolicyGradient(), OWN, (2, 0), toy.student)


@pytest.mark.parametrize(
    ("estimator", "objective", "said"),
    [
        (PolicyGradient(), (Term("forward_kl", on="dataset"),), "no term compares the student's own text"),
        (PolicyGradient(), (Term("jensen_shannon", on="student"),), "with sampled rewards"),
        (PolicyGradient(rewards="exact"), (Term("decoupled", on="student"),), "decoupled as a reward"),
        (PolicyGradient(), (Term("reverse_kl", on="student", temperature=2.0),), "at temperature 2"),
        (PolicyGradient(single=False), (Term("reverse_kl"),), "which is about all rows"),
        (PerToken(middle="exact"), (Term("forward_kl"),), "no term of the objective has a middle"),
    ],
)
def test_objectives_that_it_can_do_nothing_with_are_refused(
    estimator: PolicyGradient, objective: tuple[Term, ...], said: str
) -> None:
    """Before anything is opened."""
    with pytest.raises(TutelageError, match=said):
        estimator.suits(objective)
