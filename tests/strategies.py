"""What the laws are tried on: rows of log-probabilities, every divergence with every option, every kind.

Rows are float64. A new divergence, or a new option of one, is picked up from the table and from the
source; a new kind of distribution is one line of `KINDS`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tutelage import registry
from tutelage.distribution import (
    Dense,
    Distribution,
    Hidden,
    OfStudent,
    Sampled,
    TopK,
    Uniform,
    alpha_mixed,
    drawn,
    gold,
    interpolated,
    mixed,
    product,
    renamed,
    restricted,
    shifted,
    tempered,
)
from tutelage.divergences import TABLE
from tutelage.divergences.rows import Rows, known_of
from tutelage.errors import OutOfRange
from tutelage.interfaces import AfterStatistics, asks_target

MOST = 20
"""Combinations of options that are all tried."""

TRAINABLE = [name for name, entry in TABLE.items() if entry.trains]


# --- rows ----------------------------------------------------------------------------------------


@st.composite
def rows(draw: st.DrawFn, vocab: int, never: bool = True) -> Tensor:
    """One row ``[V]`` of log-probabilities: flat or sharp, with some tokens that are never said."""
    sharpness = draw(st.sampled_from([0.1, 1.0, 5.0, 40.0]))
    logits = draw(st.lists(st.floats(-1, 1, width=16), min_size=vocab, max_size=vocab))
    row = torch.tensor(logits, dtype=torch.float64) * sharpness
    if never:
        said = draw(st.lists(st.booleans(), min_size=vocab, max_size=vocab).filter(any))
        row = row.masked_fill(~torch.tensor(said), -math.inf)
    return row.log_softmax(-1)


@st.composite
def pairs(draw: st.DrawFn, never: bool = True) -> tuple[Tensor, Tensor]:
    """A student's and a teacher's row over one vocabulary; often with one support, as cut models have."""
    vocab = draw(st.integers(2, 7))
    student, teacher = draw(rows(vocab, never)), draw(rows(vocab, never))
    if never and draw(st.booleans()):
        both = (student > -math.inf) & (teacher > -math.inf)
        if both.any():
            student, teacher = (
                row.masked_fill(~both, -math.inf).log_softmax(-1) for row in (student, teacher)
            )
    return student, teacher


@st.composite
def grouped_pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """A pair, and for every token the group into which it is merged."""
    student, teacher = draw(pairs())
    groups = draw(st.lists(st.integers(0, 3), min_size=len(student), max_size=len(student)))
    return student, teacher, torch.tensor(groups)


def merge(row: Tensor, groups: Tensor) -> Tensor:
    """Probabilities of a row added up by group, as log-probabilities ``[4]``."""
    return torch.zeros(4, dtype=row.dtype).index_add(0, groups, row.exp()).log()


# --- divergences ---------------------------------------------------------------------------------


@functools.cache
def choices(name: str) -> list[dict[str, Any]]:
    """Ways to call a divergence: its defaults, and all combinations of its options up to their ends.

    Where those are very many, each option up to its ends beside the defaults of the others, and all together.
    """
    thing = TABLE.load(name)
    row = torch.tensor([0.25, 0.75], dtype=torch.float64).log()
    values = []
    for option in registry.options(TABLE[name]).values():
        tried = [False, True] if option.annotation == "bool" else [0.0, 1e-3, 0.1, 0.5, 0.9, 0.999, 1.0]
        values.append([(option.name, value) for value in tried])
    found = [{}]
    combinations = list(itertools.product(*values)) if values else []
    if len(combinations) > MOST:
        combinations = [(pair,) for option in values for pair in option] + list(zip(*values, strict=True))
    for combination in combinations:
        try:
            thing(row, row, **told_ways(name, 2)[0], **dict(combination))
        except OutOfRange:
            continue
        found.append(dict(combination))
    return found


def told_ways(name: str, vocab: int) -> list[dict[str, Any]]:
    """What a divergence of one row must be told beside it: nothing, or every token as its target."""
    return [{"target": torch.tensor(id_)} for id_ in range(vocab)] if asks_target(TABLE.load(name)) else [{}]


def beside(name: str, m: Maker, vocab: int | None = None) -> dict[str, Any]:
    """What a divergence must be told beside the rows of a `Maker`: nothing, or a target at each position."""
    return {"target": m.ids("target", 1, vocab)[:, 0]} if asks_target(TABLE.load(name)) else {}


def known(
    name: str, log_q: Tensor, log_p: Tensor, target: Tensor | None = None, **options: Any
) -> dict[str, Any]:
    """The options of a density of tiles ``[V, n]``, with what it must know of the whole rows."""
    divergence = TABLE.load(name)
    if isinstance(divergence, AfterStatistics):
        options |= known_of(divergence, Rows(log_q, log_p, target=target), **options)
    return options


def density(
    name: str, student: Tensor, teacher: Tensor, target: Tensor | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Value and slope of two rows ``[V]``."""
    tiles = student[:, None], teacher[:, None]
    f, g = TABLE.load(name).density(*tiles, **known(name, *tiles, target, **options))
    return f[:, 0], g[:, 0]


def settings_claiming(law: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every way to call every divergence that claims a law."""
    for name in TABLE.claiming(law):
        yield from ((name, options) for options in choices(name))


def label(name: str, options: dict[str, Any]) -> str:
    """A name for one way to call a divergence, for test ids."""
    return "-".join([name, *(f"{key}={value}" for key, value in options.items())])


# --- distributions -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Maker:
    """Makes members of random distributions over ``n`` positions and ``vocab`` tokens, float64."""

    n: int
    vocab: int
    seed: int

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal numbers that depend on seed and name."""
        generator = torch.Generator().manual_seed(hash_of(self.seed, name))
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def ids(self, name: str, k: int, vocab: int | None = None) -> Tensor:
        """Different token ids ``[n, k]`` a row."""
        return self.normal(name, self.n, vocab or self.vocab).argsort(-1)[:, :k]

    def dense(self, name: str, vocab: int | None = None) -> Dense:
        """Rows written out, one token in five never said."""
        vocab = vocab or self.vocab
        logs = 2 * self.normal(name, self.n, vocab)
        dropped = self.normal(name + " never", self.n, vocab) < -0.84
        dropped[:, :2] = False
        return Dense(logs.masked_fill(dropped, -math.inf).log_softmax(-1))

    def full(self, name: str, vocab: int | None = None) -> Dense:
        """Rows written out in which every token is said, not normalised."""
        return Dense(2 * self.normal(name, self.n, vocab or self.vocab))

    def hidden(self, name: str, vocab: int | None = None, **more: Any) -> Hidden:
        """Hidden states of width 5 and an output layer."""
        weight = self.normal(name + " weight", vocab or self.vocab, 5)
        return Hidden(self.normal(name + " hidden", self.n, 5), weight, **more)

    def top_k(self, name: str, k: int = 3, vocab: int | None = None) -> TopK:
        """The k best of full rows, and the rest."""
        log_probs = self.full(name, vocab).log_probs()
        kept, ids = log_probs.topk(min(k, log_probs.shape[1]), -1)
        return TopK(ids, kept, log_probs.shape[1])

    def of_student(self) -> OfStudent:
        """The student's own rows."""
        return OfStudent(self.n, self.vocab, torch.empty(0, dtype=torch.float64))


def hash_of(seed: int, name: str) -> int:
    """A number for a seed and a name that is the same in every process."""
    return seed * 1_000_003 + sum((i + 1) * byte for i, byte in enumerate(name.encode()))


def _ragged(m: Maker) -> TopK:
    whole = m.top_k("ragged", 3)
    ids = whole.ids.clone()
    ids[::2, -1] = -1  # every second row kept one token fewer
    return TopK(ids, whole.log_probs_kept, m.vocab)


def _all_kept_is_all(m: Maker) -> TopK:
    ids = torch.stack([torch.ones(m.n, dtype=torch.long), 2 + m.ids("other", 1, m.vocab - 2)[:, 0]], 1)
    kept = m.normal("alone", m.n, 2).log_softmax(-1)
    return TopK(ids, kept, m.vocab, torch.full((m.n,), -math.inf, dtype=torch.float64))


def _gold(m: Maker) -> TopK:
    return gold(1 + m.ids("gold", 1, 3)[:, 0], m.vocab, m.normal("gold", 1))


def _renamed(m: Maker, of: Distribution) -> Distribution:
    moves = m.ids("moves", 4)
    sources, targets = moves[:, :2].clone(), moves[:, 2:].clone()
    targets[:, 1] = sources[:, 0]  # what is moved onto a source stays there
    sources[0, 0] = -1
    return renamed(of, sources, targets, floor=1e-3)


def _routed(m: Maker) -> Tensor:
    weights = m.normal("routes", m.n, 2).exp()
    weights[0, 0] = 0.0
    return weights


def _with_tail(m: Maker, tail: Any) -> TopK:
    whole = m.top_k("k")
    return TopK(whole.ids, whole.log_probs_kept, m.vocab, whole.log_tail, tail=tail)


def _drawn(m: Maker, power: float) -> Sampled:
    # Never the two ids that one of the `HEADS` has no token for: such a draw could not be restricted.
    logs = m.full("f").logs.clone()
    logs[:, [0, m.vocab - 2]] = -math.inf
    return drawn(Dense(logs), 4, torch.Generator().manual_seed(m.seed), power=power)


HIDDEN: dict[str, Callable[[Maker], Hidden]] = {
    "hidden": lambda m: m.hidden("h"),
    "hidden, bias, scale and softcap": lambda m: m.hidden(
        "h", bias=m.normal("bias", m.vocab), scale=0.7, softcap=3.0
    ),
    "hidden without some ids": lambda m: m.hidden("h", never=torch.tensor([1, m.vocab - 1])),
}

KINDS: dict[str, Callable[[Maker], Distribution]] = {
    **HIDDEN,
    "dense": lambda m: m.dense("d"),
    "top k": lambda m: m.top_k("k"),
    "top k, some empty": _ragged,
    "top k and nothing else": _all_kept_is_all,
    "top k that is all": lambda m: m.top_k("k", m.vocab),
    "top k, taken for all": lambda m: _with_tail(m, "renormalise"),
    "gold": _gold,
    "uniform": lambda m: Uniform(m.n, m.vocab, torch.tensor([1, m.vocab - 1]), m.normal("u", 1)),
    "tempered hidden": lambda m: tempered(m.hidden("h"), 2.5),
    "tempered top k": lambda m: tempered(m.top_k("k"), 0.6),
    "product": lambda m: product([m.hidden("h"), m.dense("d"), m.full("f")], [0.5, 1.2, 0.3]),
    "product with top k": lambda m: product([m.hidden("h"), m.top_k("k")], [0.5, 1.2]),
    "interpolated": lambda m: interpolated(m.full("f"), m.hidden("h"), 0.3),
    "interpolated from the student": lambda m: interpolated(m.of_student(), m.hidden("h"), 0.3),
    "interpolated by an alpha-mixture": lambda m: alpha_mixed(
        [m.of_student(), m.hidden("h")], [0.6, 0.4], 0.3
    ),
    "an alpha-mixture beyond the ends": lambda m: alpha_mixed(
        [m.dense("d"), m.top_k("k"), m.full("f")], [1.0, 2.0, 1.0], 2.5
    ),
    "interpolated from the student to top k": lambda m: interpolated(m.of_student(), m.top_k("k"), 0.4),
    "shifted": lambda m: shifted(m.hidden("h"), towards=m.dense("d"), away_from=m.full("f"), strength=1.5),
    "shifted backwards": lambda m: shifted(
        m.dense("d"), towards=m.full("f"), away_from=m.full("g"), strength=-0.5
    ),
    "shifted from the uniform": lambda m: shifted(None, towards=m.full("f"), away_from=m.full("g")),
    "shifted without a base": lambda m: shifted(m.hidden("h"), towards=m.dense("d"), away_from=None),
    "shifted a little": lambda m: shifted(
        m.dense("d"), towards=m.full("f"), away_from=m.dense("e"), strength=1.5, max_delta=0.7, centre=True
    ),
    "shifted where plausible": lambda m: shifted(
        m.hidden("h"), towards=m.full("f"), away_from=m.full("g"), strength=-1.0, plausibility=0.2
    ),
    "shifted a little on top k": lambda m: shifted(
        m.top_k("k"), towards=m.full("f"), away_from=m.full("g"), max_delta=0.7, plausibility=0.1
    ),
    "shifted on top k": lambda m: shifted(m.hidden("h"), towards=m.top_k("k"), away_from=m.full("f")),
    "mixed": lambda m: mixed([m.hidden("h"), m.dense("d")], [1.0, 3.0]),
    "mixed by position": lambda m: mixed([m.hidden("h"), m.dense("d")], _routed(m)),
    "mixed with the student": lambda m: mixed([m.of_student(), m.dense("d")], [0.2, 0.8]),
    "mixed top k": lambda m: mixed([m.top_k("k"), m.top_k("l", 4), m.full("f")], [1.0, 1.0, 2.0]),
    "mixed top k by position": lambda m: mixed([m.top_k("k"), m.dense("d")], _routed(m)),
    "restricted hidden": lambda m: restricted(m.hidden("h", m.vocab + 3), m.vocab, torch.tensor([2])),
    "restricted dense": lambda m: restricted(m.full("f", m.vocab + 2), m.vocab, torch.tensor([0, 3])),
    "restricted top k": lambda m: restricted(m.top_k("k", 4, m.vocab + 3), m.vocab, torch.tensor([1])),
    "restricted mixture": lambda m: restricted(
        mixed([m.hidden("h", m.vocab + 1), m.top_k("k", 4, m.vocab + 1)], [1.0, 1.0]), m.vocab
    ),
    "renamed": lambda m: _renamed(m, m.hidden("h")),
    "renamed top k": lambda m: _renamed(m, m.top_k("k", 4)),
    "a mixture of a shift and a renamed product": lambda m: mixed(
        [
            shifted(m.hidden("h"), towards=m.full("d"), away_from=m.full("f"), strength=0.5),
            tempered(_renamed(m, product([m.full("g"), m.dense("d")], [0.5, 0.5])), 1.3),
        ],
        [0.4, 0.6],
    ),
}
"""Every kind of distribution and every operation over them, made from a `Maker`."""

PARTIAL: dict[str, Callable[[Maker], Distribution]] = {
    "drawn": lambda m: _drawn(m, 1.0),
    "drawn from a flatter one": lambda m: _drawn(m, 0.5),
    "top k, the rest dropped": lambda m: _with_tail(m, "drop"),
}
"""Kinds of which only some tokens are known: they can be compared with, and nothing else."""

HEADS: dict[str, Callable[[Maker], dict[str, Any]]] = {
    "plain": lambda m: {},
    "bias": lambda m: {"bias": m.normal("student bias", m.vocab)},
    "bias, scale and softcap": lambda m: {
        "bias": m.normal("student bias", m.vocab),
        "scale": 0.6,
        "softcap": 2.0,
    },
    "ids that are not tokens": lambda m: {"never": torch.tensor([0, m.vocab - 2])},
}
"""Output layers of a student."""


def student(m: Maker, head: str = "plain", **changes: Any) -> Hidden:
    """A student with gradients."""
    made = m.hidden("student", **(HEADS[head](m) | changes))
    for tensor in (made.hidden, made.weight, made.bias):
        if tensor is not None:
            tensor.requires_grad_()
    return made


def meeting(teacher: Distribution, learner: Hidden) -> Distribution:
    """The teacher without the ids that are no tokens to the student, as a run brings them together."""
    return restricted(teacher, learner.vocab_size, learner.never)


def gradients(loss: Tensor, learner: Hidden) -> list[Tensor]:
    """Gradients of a loss by hidden states, weight and bias (if there is one)."""
    of = [t for t in (learner.hidden, learner.weight, learner.bias) if t is not None]
    return list(torch.autograd.grad(loss, of))
