"""One step, five ways: rows that MiniLLM and f-DISTILL are specified by, in float64, with gradients.

The printed numbers are rounded to eight decimals: a right answer may differ from them by 5e-9, and 1e-9
is allowed on top.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.distribution import Dense
from tutelage.divergences import (
    cross_entropy,
    forward_kl,
    jensen_shannon,
    loss,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    total_variation,
)

TOLERANCE = 5e-9 + 1e-9
STUDENT = torch.tensor([1.0, 0.5, -0.5, 0.0, 2.0], dtype=torch.float64)
TEACHER = torch.tensor([2.0, 1.0, 0.1, -1.0, 0.5], dtype=torch.float64)

ROWS: dict[float, dict[str, list[float]]] = {
    1.0: {
        "p": [0.55854523, 0.20547731, 0.08354084, 0.02780833, 0.12462829],
        "q": [0.20342477, 0.12338336, 0.0453902, 0.07483579, 0.55296587],
    },
    2.0: {
        "p": [0.37191749, 0.22557936, 0.14383575, 0.08298601, 0.17568138],
        "q": [0.22190567, 0.17282031, 0.10482082, 0.13459259, 0.3658606],
    },
}
ENTROPY = {1.0: 1.24410591, 2.0: 1.51168957}
"""Of the student's row, by temperature."""

VALUES: dict[float, dict[str, float]] = {
    1.0: {
        "kl_p_q": 0.50669696,
        "kl_q_p": 0.60189469,
        "js": 0.12978703,
        "js_teacher_half": 0.06972665,
        "js_student_half": 0.06006038,
        "tvd": 0.47536504,
        "ce_-p_logq": 1.72368896,
        "fdistill_code_js_beta0.85": 0.06439873,
        "fdistill_code_js_beta0.25": 0.10257435,
    },
    2.0: {
        "kl_p_q": 0.12866991,
        "kl_q_p": 0.13966795,
        "js": 0.03301362,
        "js_teacher_half": 0.01715975,
        "js_student_half": 0.01585387,
        "tvd": 0.2417858,
        "ce_-p_logq": 1.62342685,
        "fdistill_code_js_beta0.85": 0.01648819,
        "fdistill_code_js_beta0.25": 0.02535188,
    },
}

GRADIENTS: dict[float, dict[str, list[float]]] = {
    1.0: {
        "kl_p_q": [-0.35512046, -0.08209395, -0.03815064, 0.04702746, 0.42833758],
        "kl_q_p": [-0.32790731, -0.13719416, -0.05500993, 0.02904123, 0.49107018],
        "js": [-0.0760386, -0.02512773, -0.01068837, 0.00961845, 0.10223625],
        "js_teacher_half": [-0.03615155, -0.01525123, -0.00613565, 0.0039917, 0.05354673],
        "js_student_half": [-0.03988705, -0.00987649, -0.00455273, 0.00562675, 0.04868952],
        "tvd": [-0.12771041, -0.07746028, -0.02849604, 0.02785376, 0.20581298],
        "ce_-p_logq": [-0.35512046, -0.08209395, -0.03815064, 0.04702746, 0.42833758],
        "fdistill_code_js_beta0.85": [-0.04216484, -0.01115883, -0.00501591, 0.0055809, 0.05275867],
        "fdistill_code_js_beta0.25": [-0.05712238, -0.02131717, -0.00879536, 0.00656813, 0.08066677],
    },
    2.0: {
        "kl_p_q": [-0.07500591, -0.02637953, -0.01950747, 0.02580329, 0.09508961],
        "kl_q_p": [-0.07279478, -0.03509009, -0.02390374, 0.02314403, 0.10864458],
        "js": [-0.01791277, -0.00750748, -0.00530343, 0.00609474, 0.02462893],
        "js_teacher_half": [-0.00881066, -0.00426528, -0.00290771, 0.0028966, 0.01308706],
        "js_student_half": [-0.0091021, -0.0032422, -0.00239572, 0.00319815, 0.01154188],
        "tvd": [-0.0555267, -0.04324424, -0.02622896, 0.03361765, 0.09138225],
        "ce_-p_logq": [-0.07500591, -0.02637953, -0.01950747, 0.02580329, 0.09508961],
        "fdistill_code_js_beta0.85": [-0.00937365, -0.00349487, -0.00254533, 0.00322772, 0.01218613],
        "fdistill_code_js_beta0.25": [-0.01342747, -0.00605129, -0.00419478, 0.00446049, 0.01921305],
    },
}
"""By the raw logits of the student: at temperature 2 with a factor 1/2, and not times 4."""

ENGINE = {
    1.0: (1.8460006, [-0.25704366, -0.0325215, 0.02888719, 0.1299463, 0.13073168]),
    2.0: (1.65135752, [-0.07348121, -0.01402215, 0.01507982, 0.05637584, 0.01604769]),
}
"""The expected teacher's surprise ``-sum q log p``: value and gradient."""

# What each printed name is here: a divergence, its options, and a factor. The halves of JS are skew KL
# to the middle; the weighted JS of f-DISTILL's code weighs the student by its beta, GKD's the teacher.
CALLED: dict[str, tuple[Any, dict[str, Any], float]] = {
    "kl_p_q": (forward_kl, {}, 1.0),
    "kl_q_p": (reverse_kl, {}, 1.0),
    "js": (jensen_shannon, {}, 1.0),
    "js_teacher_half": (skew_forward_kl, {"skew": 0.5}, 0.5),
    "js_student_half": (skew_reverse_kl, {"skew": 0.5}, 0.5),
    "tvd": (total_variation, {}, 1.0),
    "ce_-p_logq": (cross_entropy, {}, 1.0),
    "fdistill_code_js_beta0.85": (jensen_shannon, {"beta": 1 - 0.85, "scaled": False}, 1.0),
    "fdistill_code_js_beta0.25": (jensen_shannon, {"beta": 1 - 0.25, "scaled": False}, 1.0),
}
CASES = [(temperature, name) for temperature in VALUES for name in CALLED]


def close(found: Tensor, printed: list[float]) -> bool:
    """Whether all numbers are the printed ones, up to their rounding."""
    return bool(((found - torch.tensor(printed, dtype=torch.float64)).abs() <= TOLERANCE).all())


@pytest.mark.parametrize("temperature", ROWS)
def test_the_rows_are_the_printed_ones(temperature: float) -> None:
    """Teacher's and student's probabilities at temperature 1 and 2."""
    assert close((TEACHER / temperature).softmax(-1), ROWS[temperature]["p"])
    assert close((STUDENT / temperature).softmax(-1), ROWS[temperature]["q"])


@pytest.mark.parametrize(("temperature", "name"), CASES)
def test_a_function_of_two_rows_gives_the_printed_value_and_gradient(temperature: float, name: str) -> None:
    """The divergence as a function of log-probabilities, its gradient by autograd."""
    divergence, options, factor = CALLED[name]
    logits = STUDENT.clone().requires_grad_()
    student, teacher = ((z / temperature).log_softmax(-1) for z in (logits, TEACHER))
    value = factor * divergence(student, teacher, **options)
    value.backward()
    assert close(value.detach(), [VALUES[temperature][name]])
    assert logits.grad is not None
    assert close(logits.grad, GRADIENTS[temperature][name])


@pytest.mark.parametrize(("temperature", "name"), CASES)
def test_the_fused_evaluation_gives_the_printed_value_and_gradient(temperature: float, name: str) -> None:
    """An output layer that is the identity makes the hidden states the logits."""
    divergence, options, factor = CALLED[name]
    logits = STUDENT[None].clone().requires_grad_()
    teacher, identity = Dense(TEACHER[None]), torch.eye(5).double()
    value = factor * loss(logits, identity, teacher, divergence, temperature=temperature, **options)
    value.backward()
    assert close(value.detach(), [VALUES[temperature][name]])
    assert logits.grad is not None
    assert close(logits.grad[0], GRADIENTS[temperature][name])


@pytest.mark.parametrize("temperature", ENGINE)
def test_the_expected_surprise_is_reverse_kl_and_the_students_entropy(temperature: float) -> None:
    """ENGINE's loss: reverse KL without what rewards spread."""
    logits = STUDENT.clone().requires_grad_()
    student, teacher = ((z / temperature).log_softmax(-1) for z in (logits, TEACHER))
    entropy = -(student.exp() * student).sum()
    value = reverse_kl(student, teacher) + entropy
    value.backward()
    printed, gradient = ENGINE[temperature]
    assert close(entropy.detach(), [ENTROPY[temperature]])
    assert close(value.detach(), [printed])
    assert logits.grad is not None
    assert close(logits.grad, gradient)


def test_rows_with_half_of_their_support_in_common() -> None:
    """Both KLs are infinite, JS is half of log 2, half of the mass must move."""
    teacher = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log()
    student = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64).log()
    assert float(forward_kl(student, teacher)) == math.inf
    assert float(reverse_kl(student, teacher)) == math.inf
    assert close(jensen_shannon(student, teacher), [0.34657359])
    assert float(jensen_shannon(student, teacher)) == pytest.approx(math.log(2) / 2, abs=1e-15)
    assert float(total_variation(student, teacher)) == 0.5


def test_rows_that_share_nothing() -> None:
    """JS is exactly log 2 and total variation exactly 1."""
    teacher = torch.tensor([1.0, 0.0], dtype=torch.float64).log()
    student = torch.tensor([0.0, 1.0], dtype=torch.float64).log()
    assert float(jensen_shannon(student, teacher)) == pytest.approx(math.log(2), abs=1e-15)
    assert float(total_variation(student, teacher)) == 1.0


COMPANIONS: dict[str, tuple[Any, dict[str, Any], float, list[float]]] = {
    "gjs_0.1": (
        jensen_shannon,
        {"beta": 0.1, "scaled": False},
        0.10501639,
        [-0.03753417, -0.01402311, 0.05617525, -0.00461797],
    ),
    "gjs_0.5": (jensen_shannon, {}, 0.30399923, [-0.0905721, -0.02755109, 0.13958873, -0.02146554]),
    "tvd": (total_variation, {}, 0.67975669, [-0.11251158, -0.02510473, 0.20585802, -0.06824172]),
    "skew_fkl_0.1": (
        skew_forward_kl,
        {"skew": 0.1},
        0.93563846,
        [-0.31507896, -0.10655997, 0.4712832, -0.04964427],
    ),
    "skew_rkl_0.1": (
        skew_reverse_kl,
        {"skew": 0.1},
        1.11003634,
        [-0.29842715, -0.08348846, 0.47564546, -0.09372985],
    ),
}


@pytest.mark.parametrize("name", COMPANIONS)
def test_the_companion_losses_of_another_row(name: str) -> None:
    """Four tokens, with the skew KLs and the weighted JS that DistiLLM's and GKD's own code gives (TAID)."""
    divergence, options, printed, gradient = COMPANIONS[name]
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([2.0, 1.0, -1.0, 0.5], dtype=torch.float64)
    value = divergence(logits.log_softmax(-1), teacher.log_softmax(-1), **options)
    value.backward()
    assert close(value.detach(), [printed])
    assert logits.grad is not None
    assert close(logits.grad, gradient)
