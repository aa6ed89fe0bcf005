"""The values that flow: what is said at N positions about V tokens, lazily, and operations on it.

Kinds: `Hidden` (hidden states and an output layer), `Dense` (written out), `TopK` (k tokens and the
mass of the rest), `Sampled` (tokens drawn from it), `OfStudent` (the student's own rows), `Uniform`.
Operations give a distribution back: `tempered`, `interpolated`, `shifted`, `mixed`, `product`, `alpha_mixed`,
`restricted`, `renamed`, `standardised`. `kept` and `drawn` make a small one of any.

>>> import torch
>>> from tutelage.distribution import Dense, mixed
>>> certain, even = Dense(torch.tensor([[0.0, -torch.inf]])), Dense(torch.tensor([[0.0, 0.0]]))
>>> mixed([certain, even], [0.5, 0.5]).log_probs().exp()
tensor([[0.7500, 0.2500]])
"""

from tutelage.distribution.base import Distribution
from tutelage.distribution.dense import Dense
from tutelage.distribution.hidden import Hidden
from tutelage.distribution.joined import Joined
from tutelage.distribution.moved import left_out, renamed, restricted
from tutelage.distribution.operations import alpha_mixed, interpolated, mixed, product, tempered
from tutelage.distribution.sampled import Sampled, drawn
from tutelage.distribution.shifted import shifted
from tutelage.distribution.standardised import standardised
from tutelage.distribution.student import OfStudent
from tutelage.distribution.top_k import TopK, gold, kept
from tutelage.distribution.uniform import Uniform

__all__ = [
    "Dense",
    "Distribution",
    "Hidden",
    "Joined",
    "OfStudent",
    "Sampled",
    "TopK",
    "Uniform",
    "alpha_mixed",
    "drawn",
    "gold",
    "interpolated",
    "kept",
    "left_out",
    "mixed",
    "product",
    "renamed",
    "restricted",
    "shifted",
    "standardised",
    "tempered",
]
