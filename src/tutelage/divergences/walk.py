"""The walk of the fused evaluation, one chunk of positions after another; see `tutelage.divergences.fused`.

For a chunk the student's logits are made slice by slice of the vocabulary, ``[tokens, positions]``,
while their normaliser is gathered; a teacher's likewise; one elementwise pass a slice gives values and
slopes; a last walk makes the gradient of the logits of them and sends it back through the output layer.
Whatever the terms are, that gradient has one form (`Slopes`), so the last walk is one for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.compiled import kernel
from tutelage.distribution import Hidden, tempered
from tutelage.distribution.base import (
    BucketRows,
    FullRows,
    PartialRows,
    Workspace,
    says_something,
)
from tutelage.distribution.device import add_product
from tutelage.distribution.hidden import HiddenRows
from tutelage.divergences.against import Against, aimed, grouped
from tutelage.divergences.bodies import compare, sums
from tutelage.divergences.rows import not_known
from tutelage.divergences.slopes import Again, Entries, Multiple, Slopes
from tutelage.numerics import RunningNormaliser


@dataclass(frozen=True, eq=False)
class Chunk:
    """Opened positions of the student, and what is asked of them in one group of terms.

    Attributes:
        rows: which positions they are, ``[n]``.
        terms: several terms that share teacher and temperature, with their places among all.
        logits: the student's tile ``[V, n]``, unnormalised.
        normaliser: of the logits, ``[n]``.
        weights: of every term at every position, ``[K, n]``; 0 where it is not asked.
        pulling: the terms of the group that have a gradient: all but those that are watched.
        inner: what slopes are multiplied with: `weights`, 0 for watched terms; or None if that is done
            after the products (one term alone pulls, at temperature 1).
    """

    rows: Tensor
    terms: Sequence[tuple[int, Against]]
    logits: Tensor
    normaliser: Tensor
    weights: Tensor
    pulling: Sequence[int]
    inner: Tensor | None

    @property
    def scale(self) -> float:
        """One over the temperature."""
        return 1 / self.terms[0][1].temperature

    def weighted(self, slopes: Tensor) -> Tensor:
        """The weighted sum ``[..., n]`` of slopes ``[K, ..., n]``, by the logits before tempering."""
        if self.inner is None:
            return slopes[self.pulling[0]]
        # Positions that only another term asks for: zero times an infinite slope would be NaN.
        weights = self.inner.view(len(self.inner), *[1] * (slopes.dim() - 2), -1)
        return torch.where(weights == 0, 0.0, slopes * weights).sum(0) * self.scale


class Walk:
    """The state of one evaluation: sums that grow chunk by chunk.

    Args:
        student: hidden states and output layer.
        terms: what it is compared with.
        wanted: whether gradients of hidden states, weight and bias are wanted.
        workspace: where tiles come from.
        alone: whether there is one chunk and no other.

    Attributes:
        total: the weighted sum of all terms so far, in float64.
        values: unweighted values of every term ``[N]``.
        said: ``-inf`` where a whole row says nothing, else 0, ``[N]``; asked at the end, as that stops a GPU.
    """

    def __init__(
        self,
        student: Hidden,
        terms: Sequence[Against],
        wanted: Sequence[bool],
        workspace: Workspace,
        alone: bool = False,
    ) -> None:
        self.student = student
        self.groups = grouped(terms)
        self.workspace = workspace
        self.sizes = workspace.sizes
        # The weights of a single term are multiplied in after the products, where they cost nothing.
        pulling = [term for term in terms if not term.watched]
        single = len(pulling) == 1 and pulling[0].temperature == 1 and not self.sizes.twice
        self.single = pulling[0] if single else None
        new = self.workspace.empty
        hidden, weight, bias = wanted
        self.grad_hidden = torch.zeros_like(student.hidden) if hidden else None
        # Written whole by the first chunk, so it need not be zeroed.
        self.grad_weight = new(*student.weight.shape) if weight else None
        states, factor = workspace.factors(student.hidden[:0], student.weight[:0])
        if weight and alone and states.dtype == factor.dtype:
            # Nothing is added up beyond one product, so it can be written as it is wanted.
            self.grad_weight = torch.empty_like(student.weight)
        self.untouched = True
        self.grad_bias = new(student.vocab_size).zero_() if bias and student.bias is not None else None
        self.backward = (hidden or weight or bias) and bool(pulling)
        self.values = [new(student.positions).zero_() for _ in terms]
        self.said = new(student.positions).zero_()
        self.total = torch.zeros((), dtype=torch.float64, device=student.hidden.device)

    @property
    def gradients(self) -> list[Tensor | None]:
        """By hidden states, weight and bias, in the types of these."""
        if self.untouched and self.grad_weight is not None:
            self.grad_weight.zero_()
        pairs = zip(
            (self.grad_hidden, self.grad_weight, self.grad_bias),
            (self.student.hidden, self.student.weight, self.student.bias),
            strict=True,
        )
        return [None if g is None or of is None else g.to(of.dtype) for g, of in pairs]

    def chunk(self, rows: Tensor) -> None:
        """Evaluate all terms at some positions and add up their gradients."""
        self.workspace.reset()
        asked = len(rows)
        if asked == 0:
            return
        rows = self.sizes.align(rows)
        opened = self.student.open(rows, self.workspace)
        logits = self.workspace.take(self.student.vocab_size, len(rows))
        self.scratch = None
        if not self.sizes.twice:
            self.scratch = self.workspace.take(min(self.sizes.tokens, len(logits)), len(rows))
        normaliser = self._fill(opened, logits)
        slopes = Slopes(self.sizes)
        found = []
        for group in self.groups:
            weights = torch.stack([term.weights[rows].to(logits.dtype) for _, term in group])
            weights[:, asked:] = 0
            if len(self.groups) > 1 and not bool((weights != 0).any()):
                continue
            first = group[0][1]
            pulling = [k for k, (_, term) in enumerate(group) if not term.watched]
            inner = None
            if self.single is None:
                inner = weights * weights.new_tensor([[not term.watched] for _, term in group])
            chunk = Chunk(rows, group, logits, normaliser, weights, pulling, inner)
            mark, kept = self.workspace.mark(), (slopes.dense, slopes.again)
            teacher = tempered(first.teacher, first.temperature).open(rows, self.workspace, logits)
            if isinstance(teacher, FullRows):
                values = self._all_tokens(chunk, teacher, slopes)
            elif isinstance(teacher, BucketRows):
                values = self._kept_tokens(chunk, teacher, slopes)
            else:
                values = self._some_tokens(chunk, teacher, slopes)
            if slopes.dense is kept[0] and slopes.again is kept[1]:
                self.workspace.release(mark)
            found.append((group, weights, values))
        if self.backward:
            self._send_back(rows, asked, opened, logits, slopes)
        # Afterwards, because some values come with the gradient (`_at_once`).
        for group, weights, values in found:
            for (index, term), weight, value in zip(group, weights, values, strict=True):
                said = torch.where(weight != 0, value, 0.0)
                self.values[index][rows[:asked]] = said[:asked].to(logits.dtype)
                if not term.watched:
                    self.total += (weight.double() * said.double()).sum()

    def _all_tokens(self, chunk: Chunk, teacher: FullRows, slopes: Slopes) -> Tensor:
        """Values ``[K, n]`` of terms on whole rows; slopes are written over the teacher's tile.

        Or they are not written at all but computed again, which one group of terms can have.
        """
        logits, scale = chunk.logits, chunk.scale
        told = self.workspace.take(*logits.shape)
        idle = (chunk.weights == 0).all(0)
        log_p_norm = self._fill(teacher, told).masked_fill(idle, 0.0)
        self.said[chunk.rows] += torch.where(log_p_norm == -torch.inf, log_p_norm, 0.0)
        log_q_norm = chunk.normaliser if scale == 1 else self._normaliser(logits, scale)
        # Behind other whole rows, whose slopes need the teacher's tile after it, there is none for another.
        if self.backward and slopes.again is None and chunk.terms is self.groups[-1]:
            sums = _known_sums(chunk)
            if sums is not None:
                return self._at_once(chunk, told, log_q_norm, log_p_norm, sums, slopes)
        local = any(term.local for _, term in chunk.terms)  # a kernel is made for options that stay
        if self.sizes.twice and slopes.again is None and not local:
            return self._twice(chunk, told, log_q_norm, log_p_norm, slopes)
        backward = self.backward and bool(chunk.pulling)
        target = None if not backward else told if slopes.dense is None else slopes.dense
        # Where nobody needs the logits any more, probabilities are kept there for the last walk.
        lone = len(self.groups) == 1 and not self.sizes.twice
        slopes.spent = backward and lone and self.student.softcap is None
        part = self.sizes.in_parts(logits.shape[1])
        look = {"scale": scale, "tokens": min(part.tokens, self.sizes.tokens)}
        whole = [
            term.whole(chunk.rows, logits, told, (log_q_norm, log_p_norm), **look) for _, term in chunk.terms
        ]
        named = [term.named(chunk.rows, rows) for (_, term), rows in zip(chunk.terms, whole, strict=True)]
        values = torch.zeros(chunk.weights.shape, dtype=torch.float64, device=logits.device)
        totals = torch.zeros_like(chunk.weights)
        some_idle = bool((chunk.weights[chunk.pulling] == 0).any())
        for tokens in part.slices(len(logits)):
            f, g = compare(
                [aimed(one, rows, tokens) for one, rows in zip(named, whole, strict=True)],
                scale,
                logits[tokens],
                told[tokens],
                log_q_norm,
                log_p_norm,
                None if chunk.inner is None else chunk.inner * scale,
                chunk.pulling,
                some_idle,
                None if target is None else target[tokens],
                add=target is not told,
                keep=logits[tokens] if slopes.spent else None,
            )
            values += f
            totals += g
        if backward:
            slopes.dense = target
            slopes.multiples.append(Multiple(scale, log_q_norm, -chunk.weighted(totals)))
        return values

    def _twice(
        self, chunk: Chunk, told: Tensor, log_q_norm: Tensor, log_p_norm: Tensor, slopes: Slopes
    ) -> Tensor:
        """Values ``[K, n]`` of terms on whole rows; their slopes are left to the last walk."""
        logits, scale = chunk.logits, chunk.scale
        named = tuple(term.named(chunk.rows) for _, term in chunk.terms)
        values = torch.zeros(chunk.weights.shape, dtype=torch.float64, device=logits.device)
        totals = torch.zeros_like(values)
        for tokens in self.sizes.slices(len(logits)):
            f, g = kernel(sums, named, scale)(logits[tokens], told[tokens], log_q_norm, log_p_norm)
            values += f
            totals += g
        if self.backward and chunk.pulling:
            assert chunk.inner is not None
            own = Multiple(scale, log_q_norm, -chunk.weighted(totals.to(logits.dtype)))
            slopes.multiples.append(own)
            slopes.again = Again(named, told, log_p_norm, chunk.inner * scale, chunk.pulling, own)
        return values

    def _at_once(
        self,
        chunk: Chunk,
        told: Tensor,
        log_q_norm: Tensor,
        log_p_norm: Tensor,
        sums: Tensor,
        slopes: Slopes,
    ) -> Tensor:
        """Values ``[K, n]`` that the last walk fills in as it makes slopes, whose sums ``[K]`` are known."""
        values = torch.zeros(chunk.weights.shape, dtype=torch.float64, device=told.device)
        own = Multiple(
            chunk.scale, log_q_norm, -chunk.weighted(sums.to(told)[:, None].expand_as(chunk.weights))
        )
        slopes.multiples.append(own)
        slopes.again = Again(
            tuple(term.named(chunk.rows) for _, term in chunk.terms),
            told,
            log_p_norm,
            None if chunk.inner is None else chunk.inner * chunk.scale,
            chunk.pulling,
            own,
            values,
        )
        return values

    def _kept_tokens(self, chunk: Chunk, teacher: BucketRows, slopes: Slopes) -> Tensor:
        """Values ``[K, n]`` of terms on kept tokens and the rest, onto which the student is brought."""
        logits, scale = chunk.logits, chunk.scale
        columns = teacher.columns()
        idle = (chunk.weights == 0).all(0)
        log_p = columns - says_something(columns.logsumexp(0).masked_fill(idle, 0.0))
        entries = Entries.at(teacher.ids)
        student = torch.full_like(log_p, -torch.inf)
        student[:-1][entries.columns] = logits[entries.where]
        # Fine-tuning on gold tokens: nothing is asked about the rest, so that it need not be summed up.
        certain = scale == 1 and bool((log_p[-1] == -torch.inf).all())
        if certain and all(_asks_nothing_of_never(term) for _, term in chunk.terms):
            log_q = student - chunk.normaliser
        else:
            certain = False
            student[-1] = self._normaliser(logits, 1.0, without=entries)
            log_q = (student * scale).log_softmax(0)
        pairs = [term.density(chunk.rows, log_q, log_p, teacher.ids) for _, term in chunk.terms]
        values, g = (torch.stack(of) for of in zip(*pairs, strict=True))
        if not (self.backward and chunk.pulling):
            return values.sum(1)
        if certain:
            slopes.multiples.append(Multiple(1.0, chunk.normaliser, -chunk.weighted(g.sum(1))))
            slopes.added.append(entries.holding(chunk.weighted(g)[:-1]))
            return values.sum(1)
        by_column = chunk.weighted(g - log_q.exp() * g.sum(1, keepdim=True))
        # Within the rest a token's logit moves it by its share of the rest.
        some = student[-1] > -torch.inf
        rest = torch.where(some, student[-1], 0.0)
        coefficient = torch.where(some, by_column[-1], 0.0)
        slopes.multiples.append(Multiple(1.0, rest, coefficient, entries.holding(by_column[:-1])))
        return values.sum(1)

    def _some_tokens(self, chunk: Chunk, teacher: PartialRows, slopes: Slopes) -> Tensor:
        """Values ``[K, n]`` of weighted sums over the tokens that are known; the student is whole."""
        for _, term in chunk.terms:
            if term.after_statistics:
                raise not_known(term.divergence.__name__)
        entries = Entries.at(teacher.ids)
        log_q = torch.zeros_like(teacher.logs)
        log_q[entries.columns] = chunk.logits[entries.where]
        log_q -= chunk.normaliser
        pairs = [term.density(chunk.rows, log_q, teacher.logs) for _, term in chunk.terms]
        # Times zero in empty columns, whatever stands there.
        f, g = (
            torch.where(teacher.factors == 0, 0.0, torch.stack(of) * teacher.factors)
            for of in zip(*pairs, strict=True)
        )
        if self.backward and chunk.pulling:
            slopes.multiples.append(Multiple(1.0, chunk.normaliser, -chunk.weighted(g.sum(1))))
            slopes.added.append(entries.holding(chunk.weighted(g)))
        return f.sum(1)

    def _send_back(
        self, rows: Tensor, asked: int, opened: HiddenRows, logits: Tensor, slopes: Slopes
    ) -> None:
        student, states = self.student, opened.states
        after = student.scale
        factor = None if self.single is None else self.single.weights[rows].to(logits.dtype) * after
        if factor is not None:
            states = states * factor[:, None]
        elif after != 1:
            states = states * after
        back = None
        if self.grad_hidden is not None:
            back = self.workspace.empty(*opened.states.shape).zero_()
        wanted = states.dtype if student.softcap is None else logits.dtype
        for tokens, part in slopes.walked(logits, self.scratch, wanted):
            if student.softcap is not None:
                z = logits[tokens] / student.softcap
                part.mul_(torch.where(z.isfinite(), 1 - z * z, 0.0))
            if self.grad_bias is not None:
                self.grad_bias[tokens] += (
                    part.sum(1, dtype=logits.dtype) * after if factor is None else part @ factor
                )
            part = part.to(states.dtype)
            if back is not None:
                add_product(back, part.T, opened.weight[tokens].to(part.dtype))
            if self.grad_weight is not None:
                add_product(self.grad_weight[tokens], part, states, keep=not self.untouched)
        self.untouched = False
        if back is not None and self.grad_hidden is not None:
            back *= after if factor is None else factor[:, None]
            self.grad_hidden[rows[:asked]] = back[:asked].to(self.grad_hidden.dtype)

    def _fill(self, opened: FullRows, tile: Tensor) -> Tensor:
        """Fill ``tile`` ``[V, n]`` slice by slice; returns its normaliser ``[n]``."""
        running = RunningNormaliser(opened.n, tile)
        for tokens in self.sizes.slices(opened.vocab_size):
            opened.fill(tokens, tile[tokens])
            running.add(tile[tokens], None if self.scratch is None else self.scratch[: len(tile[tokens])])
        return running.value()

    def _normaliser(self, tile: Tensor, scale: float, without: Entries | None = None) -> Tensor:
        """The normaliser ``[n]`` of ``scale * tile``, as it is or without some entries."""
        values = None if without is None else tile[without.where]
        if without is not None:
            tile[without.where] = -torch.inf
        running = RunningNormaliser(tile.shape[1], tile, scale)
        for tokens in self.sizes.slices(len(tile)):
            running.add(tile[tokens], None if self.scratch is None else self.scratch[: len(tile[tokens])])
        if without is not None and values is not None:
            tile[without.where] = values
        return running.value()


def _asks_nothing_of_never(term: Against) -> bool:
    """Whether a divergence is not about what the student says where the teacher says "never"."""
    if term.after_statistics:
        return False
    first = torch.zeros(1, dtype=torch.long, device=term.weights.device)
    q = torch.full((1,), 0.3, dtype=term.weights.dtype, device=first.device).log()
    f, g = term.density(first, q, torch.full_like(q, -torch.inf))
    return bool(f == 0) and bool(g == 0)


def _known_sums(chunk: Chunk) -> Tensor | None:
    """What the slopes of terms sum to ``[K]``, 0 of watched ones; None where that must be summed up."""
    if not chunk.pulling or any(term.local for _, term in chunk.terms):
        return None
    sums = [0.0 if term.watched else term.slope_sum for _, term in chunk.terms]
    return None if None in sums else torch.tensor(sums)
