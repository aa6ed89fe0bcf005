"""MiniLLM's estimator: what is said now, exactly, and what it leads to, by policy gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Hidden, gold
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.scored import log_probs_of
from tutelage.errors import TutelageError
from tutelage.estimators.own_text import Importance, finite, is_own
from tutelage.estimators.per_token import PerToken, Reduction, gold_has_none, required, weights_of
from tutelage.estimators.returns import by_row, followers, summed_after, summed_from
from tutelage.estimators.surrogates import Reading, clipped_ratio
from tutelage.interfaces import OWN, TEACHER, Batch, asks_target
from tutelage.objective import Term


@dataclass(frozen=True)
class PolicyGradient:
    """The gradient of a divergence between whole texts: a *single* part and a *long* part.

    The single part is the objective itself at every token (exact over the vocabulary, as `per_token` has it).
    The long part is a policy gradient: what was drawn becomes likelier by as much as what followed was
    worth, where the worth (reward) of a token is ``log p - log q``, or minus the term's divergence. It is
    added for the terms that compare the student's own text with a teacher.

    Attributes:
        clip: how far the ratio of a drawn token's probabilities now and then may be from 1; `none` never
            clips.
        reading: of the clip: `ppo`, or `paper` for MiniLLM's Algorithm 1 to the letter.
        length_normalised: divide what followed by the number of tokens that followed.
        single: False leaves the single part out; the long part then begins with the token itself.
        returns: what the long part sums up: the rewards `after` a token, or those `from` it on (which counts
            the token twice where the single part is there, as MiniLLM's code does); None takes `after`, or
            `from` without the single part.
        discount: weight of each later reward against the one before it.
        rewards: `sampled`, the log-ratio of the drawn tokens (for reverse_kl); or `exact`, minus the
            divergence at every position, for any divergence.
        refresh: take the student's part in a sampled reward from its weights as they are now, and not as they
            were when the text was written.
        reward_clip: largest reward by amount; None leaves them as they are.
        importance: what corrects for text that was drawn from another distribution than the student's:
            `step`, the ratio at the token alone (biased on purpose, MiniLLM's choice); `product`, of all
            ratios up to it; `trajectory`, of the whole row; `by_reward`, each reward by the ratios up to it
            (these two are unbiased without `length_normalised` and `clip`); or `none`.
        weighted_single: whether the single part is weighted too; None does it where `importance` is a
            product.
        reduction: `token_mean`, or `sequence_sum`: the sum over a row's tokens, averaged over the rows.

    Source: Gu et al. 2024, MiniLLM, arXiv:2306.08543; for other divergences than reverse KL: derived.
    """

    clip: Annotated[float, "(0, 1)"] | None = 0.2
    reading: Reading = "ppo"
    length_normalised: bool = True
    single: bool = True
    returns: Literal["after", "from"] | None = None
    discount: Annotated[float, "[0, 1]"] = 1.0
    rewards: Literal["sampled", "exact"] = "sampled"
    refresh: bool = False
    reward_clip: Annotated[float, "(0, inf)"] | None = None
    importance: Literal["step", "product", "trajectory", "by_reward", "none"] = "step"
    weighted_single: bool | None = None
    reduction: Reduction = "token_mean"
    sums: dict[str, float] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def suits(self, objective: Sequence[Term]) -> None:
        """Refuse an objective that it can make no gradient of.

        Raises:
            TutelageError: no term is about the student's own text and a teacher, or one is that has no
                sampled reward or is tempered.
        """
        gold_has_none(objective)
        own = [term for term in objective if is_own(term)]
        if not own:
            raise TutelageError(
                "a policy gradient, and no term compares the student's own text with a teacher",
                expected="a term such as `{divergence: reverse_kl, on: student}`",
                fix="add one, or delete `estimator:`",
            )
        for term in own:
            if self.rewards == "sampled" and term.divergence != "reverse_kl":
                raise TutelageError(
                    f"{term.divergence} with sampled rewards",
                    expected="reverse_kl: the log-ratio of a drawn token is a sample of that alone",
                    fix="write `rewards: exact` under `estimator:`",
                )
            if asks_target(TABLE.load(term.divergence)):
                raise TutelageError(
                    f"{term.divergence} as a reward",
                    expected="a divergence of what may follow: this one depends on the drawn token too",
                    fix="use the estimator `per_token`, or `forward_kl` in its place",
                )
            if term.on == "all" and not self.single:
                raise TutelageError(
                    f"`single: false` for the term '{term}', which is about all rows",
                    expected="a term on the student's own text: nothing would be left for the others",
                    fix="write `on: student`, and a term of its own for the other rows",
                )
            if term.temperature != 1 or term.standardise:
                raise TutelageError(
                    f"a policy gradient of the term '{term}'",
                    expected="temperature 1, logits as they are: so is the text drawn",
                    fix="delete `temperature:` and `standardise:`",
                )

    @property
    def noted(self) -> dict[str, float]:
        """Means over the student's own tokens since this was last read; they are forgotten with it.

        ``own_reward`` in nats per token; ``own_effective_share``: effective sample size of the importance
        weights, as a share of the tokens.
        """
        tokens = self.sums.get("tokens", 0.0)
        if not tokens:
            return {}
        told = {
            "own_reward": self.sums["reward"] / tokens,
            "own_effective_share": self.sums["weight"] ** 2 / (tokens * self.sums["square"]),
        }
        self.sums.clear()
        return told

    def terms(
        self,
        objective: Sequence[Term],
        batch: Batch,
        student: Hidden,
        teacher: Distribution | None,
        counted: Mapping[str, int],
    ) -> list[Against]:
        """What the fused evaluation is to compute for one micro-batch; see `PerToken.terms`."""
        plain = [term for term in objective if self.single or not is_own(term)]
        made = PerToken(self.reduction).terms(plain, batch, student, teacher, counted)
        own = batch.written_by("student")
        if not bool(own.any()):
            return made
        weights = Importance.of(batch, self.importance)
        if self._weighs_single:
            places = [term for term in plain if counted[term.on]]
            made = [
                dataclasses.replace(against, weights=against.weights * weights.single.to(against.weights))
                if is_own(term)
                else against
                for term, against in zip(places, made, strict=True)
            ]
        for term in objective:
            if is_own(term) and counted[term.on]:
                found = self._rewards(term, batch, student, required(teacher, term))
                rewards = torch.where(own, found, 0.0)
                self._note(rewards[own], weights.step[own])
                share = weights_of(term, batch, student, counted, self.reduction) * own
                made.append(self._long(rewards, batch, student, share, weights))
        return made

    def advantages(self, rewards: Tensor, mask: Tensor) -> Tensor:
        """What stands before the gradient of ``log q`` at every token, ``[B, L]``, of rewards ``[B, L]``."""
        start = self.returns or ("after" if self.single else "from")
        if start == "after":
            total, count = summed_after(rewards, mask, self.discount), followers(mask)
        else:
            total, count = summed_from(rewards, self.discount), followers(mask) + 1
        if self.length_normalised:
            total = total / count.clamp(min=1)
        return torch.where(mask, total, 0.0)

    @property
    def _weighs_single(self) -> bool:
        if self.weighted_single is None:
            return self.importance in ("product", "trajectory", "by_reward")
        return self.weighted_single

    def _rewards(self, term: Term, batch: Batch, student: Hidden, teacher: Distribution) -> Tensor:
        """Rewards ``[N]`` in nats, float64, without gradient."""
        if self.rewards == "exact":
            with torch.no_grad():
                ones = torch.ones_like(weights_of(term, batch, student, {term.on: 1}, "token_mean"))
                against = Against(TABLE.load(term.divergence), teacher, ones, 1.0, term.options)
                _, (values,) = evaluate(student, [against])
            rewards = -values.double()
        else:
            said = batch.recorded_at(OWN)
            if self.refresh or said is None:
                said = log_probs_of(student, batch.gold)
            log_p = batch.recorded_at(TEACHER)
            if log_p is None:
                log_p = log_probs_of(teacher, batch.gold, student)
            rewards = log_p.double() - said.double()
        finite(rewards[batch.written_by("student")])
        return rewards if self.reward_clip is None else rewards.clamp(-self.reward_clip, self.reward_clip)

    def _long(
        self, rewards: Tensor, batch: Batch, student: Hidden, share: Tensor, weights: Importance
    ) -> Against:
        if self.importance == "by_reward":
            rewards = rewards * weights.single
        advantage = self.advantages(by_row(rewards, batch.mask), batch.mask)[batch.mask] * weights.factor
        told = {"advantage": advantage, "log_behaviour": weights.log_behaviour}
        options = {"clip": self.clip, "reading": self.reading}
        return Against(clipped_ratio, gold(batch.gold, student.vocab_size, share), share, 1.0, options, told)

    def _note(self, rewards: Tensor, weights: Tensor) -> None:
        found = {
            "tokens": float(len(rewards)),
            "reward": float(rewards.sum()),
            "weight": float(weights.sum()),
            "square": float((weights**2).sum()),
        }
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
