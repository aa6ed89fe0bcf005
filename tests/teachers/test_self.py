"""The student itself as teacher: copies that stay, averages that follow, prompts that only it reads."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tutelage.distribution import Hidden, OfStudent
from tutelage.divergences import loss
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Machine, Running
from tutelage.models import LanguageModel, new_model, rows_of, save_student, with_adapters
from tutelage.run.learner import recompute_activations, said_by
from tutelage.teachers import MixtureTeacher, ModelTeacher, SelfTeacher, moving
from tutelage.text import Example, collate

TOKENIZER = Path(__file__).parents[2] / "recipes" / "demo" / "tokenizer"
OTHERS = ("initial", "average", "snapshot")
SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": SMALL | {"num_key_value_heads": 1, "max_position_embeddings": 64},
    "gemma2": SMALL | {"num_key_value_heads": 1, "head_dim": 8, "final_logit_softcapping": 0.5},
    "gpt_neox": SMALL | {"max_position_embeddings": 64},
}
TEXTS = ("Once upon a time, there was a cat.", "Lily was sad.", "He said: no!")
PROMPT = "A happy story.\n"


def student(model_type: str = "gpt2", *, rank: int | None = None, **config: Any) -> LanguageModel:
    """A new tiny model, in training mode as a run has it."""
    words = {"model_type": model_type, **ARCHITECTURES[model_type], **config}
    made = new_model(words, TOKENIZER, seed=4, machine=Machine())
    made = made if rank is None else with_adapters(made, rank=rank, seed=4)
    made.model.train()
    return made


def rows(model: LanguageModel, *, prompt: str = "", start: bool = True, **columns: Sequence[str]) -> Batch:
    """A row for each text, all but its first two tokens counted; the prompt leads up to it."""
    tokenizer: Any = model.tokenizer
    begin = [tokenizer.bos_token_id] if start else []
    before = tokenizer(prompt).input_ids
    examples = []
    for number, text in enumerate(TEXTS):
        first, *rest = tokenizer(text).input_ids
        given = [*begin, *before, first]
        counted = [False] * len(given) + [True] * len(rest)
        row = {name: values[number] for name, values in columns.items()}
        examples.append(Example([*given, *rest], counted, row))
    return collate(examples, model.pad_id)


def beside(teacher: SelfTeacher, model: LanguageModel) -> Any:
    """The teacher in a run of this student."""
    return moving.beside(teacher.open(Machine()), Running(model, 5))


def told(model: LanguageModel, batch: Batch) -> Tensor:
    """What the student itself says in evaluation mode."""
    training = model.model.training
    model.model.eval()
    with torch.no_grad():
        found = said_by(model.model, batch).log_probs()
    model.model.train(training)
    return found


def trained(model: LanguageModel, steps: int, *teachers: Any) -> list[dict[str, Tensor]]:
    """Weights after each of some steps of plain descent, of which the teachers are told; dropout is on."""
    weights = [weight for weight in model.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.5)
    seen = []
    for step in range(steps):
        batch = rows(model)
        hidden, layer = rows_of(model, batch)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer.logits(hidden), batch.gold).backward()
        optimizer.step()
        for teacher in teachers:
            moving.stepped(teacher, step, {})
        seen.append({n: w.detach().clone() for n, w in model.model.named_parameters() if w.requires_grad})
    return seen


def test_every_kind_begins_as_the_student() -> None:
    """Before the first step there is nothing to be apart in, whatever is averaged or kept."""
    model = student()
    expected = told(model, rows(model))
    for kind in OTHERS:
        assert_close(beside(SelfTeacher(kind), model)(rows(model)).log_probs(), expected, rtol=0, atol=0)
    now = beside(SelfTeacher("current"), model)(rows(model))
    assert isinstance(now, OfStudent)
    assert_close(now.log_probs(student=expected), expected)


def test_an_average_is_the_formula_on_the_recorded_weights() -> None:
    """Bit for bit: the share that stays, and the rest of the new weights, from those of step 0 on."""
    model, decay = student(), 0.7
    average = {name: weight.detach().clone() for name, weight in model.model.named_parameters()}
    teacher = beside(SelfTeacher(decay=decay), model)
    for after in trained(model, 4, teacher):
        average = {name: decay * average[name] + (1 - decay) * after[name] for name in after}
    kept = teacher.tensors()
    assert kept.keys() == average.keys()
    assert all(torch.equal(kept[name], average[name]) for name in average)


@pytest.mark.parametrize("teacher", [SelfTeacher(decay=0.0), SelfTeacher("snapshot", every=1)])
@pytest.mark.parametrize("rank", [None, 2])
def test_without_memory_it_is_the_student_after_its_last_step(teacher: SelfTeacher, rank: int | None) -> None:
    """Decay 0, or a snapshot after every step (law 4)."""
    model = student(rank=rank)
    follows = beside(teacher, model)
    trained(model, 3, follows)
    assert_close(follows(rows(model)).log_probs(), told(model, rows(model)), rtol=0, atol=0)


def test_a_snapshot_is_the_student_of_the_last_full_count_of_steps() -> None:
    """Taken after steps 2 and 4 of five."""
    model = student()
    teacher = beside(SelfTeacher("snapshot", every=2), model)
    seen = trained(model, 5, teacher)
    assert all(torch.equal(weight, seen[3][name]) for name, weight in teacher.tensors().items())


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_the_student_before_training_stays_what_it_was(model_type: str, rank: int | None) -> None:
    """While the student goes on, bit for bit; with adapters it is the network that they were put into."""
    before = told(student(model_type), rows(student(model_type)))
    model = student(model_type, rank=rank)
    teacher = beside(SelfTeacher("initial"), model)
    trained(model, 3, teacher)
    assert (told(model, rows(model)) - before).abs().max() > 1e-3
    assert_close(teacher(rows(model)).log_probs(), before, rtol=0, atol=0)
    assert not teacher.tensors()


def test_adapters_that_are_off_meanwhile_are_trained_on() -> None:
    """What is trained, in which mode, and what it says: all as before, and no copy was made."""
    model = student(rank=2)
    teacher = beside(SelfTeacher("initial"), model)
    trained(model, 2)
    state = {name: weight.requires_grad for name, weight in model.model.named_parameters()}
    expected = told(model, rows(model))
    teacher(rows(model))
    assert state == {name: weight.requires_grad for name, weight in model.model.named_parameters()}
    assert model.model.training
    assert_close(told(model, rows(model)), expected, rtol=0, atol=0)
    assert teacher.copy is None


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("kind", OTHERS)
def test_no_weight_is_shared_with_the_student(kind: Any, rank: int | None) -> None:
    """A step of the student must not move its teacher; tied layers stay tied in the copy."""
    model = student(rank=rank)
    teacher = beside(SelfTeacher(kind), model)
    if teacher.copy is None:
        assert (kind, rank) == ("initial", 2)  # there it is the very same network, its adapters switched off
        return
    network = teacher.copy.model
    ours = {weight.untyped_storage().data_ptr() for weight in model.model.state_dict().values()}
    theirs = {weight.untyped_storage().data_ptr() for weight in network.state_dict().values()}
    assert not ours & theirs
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_teachers_of_one_run_share_the_student_before_training() -> None:
    """The run's own and the one that students are measured against hold one copy together."""
    model = student()
    running = Running(model, 5)
    one, other = (moving.beside(SelfTeacher("initial"), running) for _ in range(2))
    assert one.copy is other.copy
    assert beside(SelfTeacher("initial"), model).copy is not one.copy


@pytest.mark.parametrize("kind", ["initial", "current", "average", "snapshot"])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
@pytest.mark.parametrize("start", [True, False])
def test_a_prompted_teacher_is_the_student_on_the_longer_text(
    model_type: str, kind: Any, start: bool
) -> None:
    """The prompt stands after the start token where the row has one, at its very beginning where not."""
    model = student(model_type)
    teacher = beside(SelfTeacher(kind, prompt=PROMPT), model)
    expected = told(model, rows(model, prompt=PROMPT, start=start))
    found = teacher(rows(model, start=start)).log_probs()
    assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - told(model, rows(model, start=start))).abs().max() > 1e-4


def test_a_column_gives_every_row_its_own_prompt() -> None:
    """Row by row what the prompt alone gives; a number is read as it is written."""
    model = student()
    hints = ("A cat.\n", "", 42)
    found = beside(SelfTeacher("current", prompt_column="hint"), model)(rows(model, hint=hints)).log_probs()
    of_row = rows(model).positions[0]
    for number, hint in enumerate(hints):
        alone = told(model, rows(model, prompt=str(hint)))
        assert_close(found[of_row == number], alone[of_row == number], rtol=0, atol=1e-5)
    assert SelfTeacher(prompt_column="hint").columns == ("hint",)


@pytest.mark.parametrize("kind", ["initial", "average"])
def test_an_empty_prompt_is_none(kind: Any) -> None:
    """Law 4; of the student as it is that is its own tile, for which nothing is computed."""
    model = student()
    plain, empty = (beside(SelfTeacher(kind, prompt=text), model)(rows(model)) for text in (None, ""))
    assert_close(plain.log_probs(), empty.log_probs(), rtol=0, atol=0)
    assert isinstance(beside(SelfTeacher("current", prompt=""), model)(rows(model)), OfStudent)


@pytest.mark.parametrize("kind", ["initial", "current", "average"])
def test_padding_and_micro_batches_change_nothing(kind: Any) -> None:
    """Neither how wide the rows are padded, nor on which side, nor which rows go together (law 1)."""
    model = student("llama")
    teacher = beside(SelfTeacher(kind, prompt_column="hint"), model)
    batch = rows(model, hint=("One.", "Two or three things.", ""))
    whole = teacher(batch).log_probs()
    parts = [teacher(batch.rows(torch.tensor([number]))).log_probs() for number in range(len(TEXTS))]
    assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    for side in ((0, 5), (5, 0)):
        padded = {
            name: torch.nn.functional.pad(getattr(batch, name), side, value=value)
            for name, value in (("tokens", 7), ("attention", False), ("mask", False))
        }
        assert_close(teacher(dataclasses.replace(batch, **padded)).log_probs(), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "teacher",
    [
        SelfTeacher("current", prompt=PROMPT),
        SelfTeacher("initial"),
        SelfTeacher("average", prompt=PROMPT),
    ],
)
@pytest.mark.parametrize("rank", [None, 2])
def test_asking_leaves_the_student_alone(teacher: SelfTeacher, rank: int | None) -> None:
    """Its mode, its gradients and the random stream of its dropout; what comes back is a constant."""
    model = student(rank=rank, resid_pdrop=0.3)
    follows = beside(teacher, model)
    trained(model, 1)
    weights = list(model.model.parameters())
    gradients = [None if w.grad is None else w.grad.clone() for w in weights]
    chance = torch.get_rng_state()
    said = follows(rows(model))
    assert torch.equal(torch.get_rng_state(), chance)
    assert model.model.training
    assert isinstance(said, Hidden)
    assert not any(t.requires_grad for t in (said.hidden, said.weight))
    for weight, gradient in zip(weights, gradients, strict=True):
        assert weight.grad is None if gradient is None else torch.equal(weight.grad, gradient)
    again = follows(rows(model))
    assert_close(again.log_probs(), said.log_probs(), rtol=0, atol=0)  # no dropout


def test_recomputed_activations_change_nothing() -> None:
    """A student that keeps no activations is copied and asked like any other."""
    model = student("llama", rank=2)
    expected = told(model, rows(model))
    recompute_activations(model.model)
    for teacher in (SelfTeacher("initial"), SelfTeacher()):
        follows = beside(teacher, model)
        trained(model, 1, follows)
        assert follows(rows(model)).log_probs().isfinite().all()
    assert_close(beside(SelfTeacher("initial"), model)(rows(model)).log_probs(), expected, rtol=0, atol=0)


def test_in_half_precision_it_begins_as_the_student_does() -> None:
    """Its passes are as precise as the student's own: no loss where there is nothing to learn (law 2)."""
    model = student()
    model.model.eval()
    for kind in OTHERS:
        teacher = SelfTeacher(kind).open(Machine(dtype="bfloat16"))
        follows = moving.beside(teacher, Running(model, 5))
        with torch.autocast("cpu", torch.bfloat16):
            expected = said_by(model.model, rows(model))
        assert_close(follows(rows(model)).log_probs(), expected.log_probs(), rtol=0, atol=0)


def test_a_teacher_that_is_the_student_of_this_step_has_no_gradient() -> None:
    """So it is said when a run begins, but not of one inside another teacher, or with a prompt."""
    model = student()
    model.model.eval()
    hidden, layer = rows_of(model, rows(model))
    teacher = beside(SelfTeacher("current"), model)
    found = loss(hidden, layer.weight, teacher(rows(model)))
    (gradient,) = torch.autograd.grad(found, hidden)
    assert float(found.detach()) == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-6
    (line,) = moving.warnings(teacher)
    assert "gradient of zero" in line
    assert not moving.warnings(beside(SelfTeacher("current", prompt=PROMPT), model))
    assert not moving.warnings(MixtureTeacher((SelfTeacher("current"), SelfTeacher("initial"))))


@pytest.mark.parametrize("kind", ["initial", "current"])
def test_it_is_a_member_of_mixtures(tmp_path: Path, kind: Any) -> None:
    """Half the student, half another model: the mean of their probabilities."""
    model = student()
    other = new_model(ARCHITECTURES["gpt2"] | {"model_type": "gpt2"}, TOKENIZER, seed=9, machine=Machine())
    folder = str(save_student(other, tmp_path / "other"))
    mixture = MixtureTeacher((SelfTeacher(kind), ModelTeacher(folder))).open(Machine())
    follows = moving.beside(mixture, Running(model, 5))
    own = told(model, rows(model))
    expected = (own.exp() + told(other, rows(model)).exp()) / 2
    assert_close(follows(rows(model)).log_probs(student=own).exp(), expected, rtol=0, atol=1e-6)
    assert follows.vocabulary.width == model.vocabulary.width


def test_what_students_are_measured_against_stays() -> None:
    """The student before training, with the prompt; an average or a snapshot would be another every time."""
    for kind in ("current", "average", "snapshot"):
        measured = moving.measured(SelfTeacher(kind, prompt=PROMPT))
        assert measured == SelfTeacher("initial", prompt=PROMPT)
        assert moving.moves(SelfTeacher(kind))
    assert not moving.moves(SelfTeacher("initial"))
    assert moving.measured(SelfTeacher("average", decay=0.5)) == SelfTeacher("initial")


@pytest.mark.parametrize("teacher", [SelfTeacher(decay=0.5), SelfTeacher("snapshot", every=2)])
def test_what_is_kept_is_put_back(teacher: SelfTeacher) -> None:
    """The tensors of a checkpoint give the same teacher again, and it goes on the same."""
    model = student()
    follows = beside(teacher, model)
    again = beside(teacher, copy.deepcopy(model))
    trained(model, 3, follows)
    kept = {name: tensor.clone() for name, tensor in moving.tensors_of(follows).items()}
    again = dataclasses.replace(again, student=model)
    moving.restore(again, moving.state_of(follows), kept)
    assert_close(again(rows(model)).log_probs(), follows(rows(model)).log_probs(), rtol=0, atol=0)
    trained(model, 1, follows, again)
    assert_close(again(rows(model)).log_probs(), follows(rows(model)).log_probs(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"of": "snapshot", "decay": 0.5}, "`decay: 0.5` with `of: snapshot`"),
        ({"of": "initial", "every": 7}, "`every: 7` with `of: initial`"),
        ({"every": 7}, "`every: 7` with `of: average`"),
        ({"prompt": "a", "prompt_column": "b"}, "both `prompt` and `prompt_column`"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    """An option is there where it does something."""
    with pytest.raises(TutelageError, match=said):
        SelfTeacher(**options)


def test_what_it_cannot_answer_is_named() -> None:
    """Asked before a run, too long with its prompt, a column that is missing or holds no text."""
    model = student()
    with pytest.raises(TutelageError, match="asked before it was told of a run"):
        SelfTeacher().open(Machine())(rows(model))
    with pytest.raises(TutelageError, match=r"has \d+ tokens, and 'a new gpt2' has 64 positions"):
        beside(SelfTeacher(prompt=PROMPT * 20), model)(rows(model))
    column = beside(SelfTeacher(prompt_column="hint"), model)
    with pytest.raises(TutelageError, match="no column 'hint'"):
        column(rows(model))
    with pytest.raises(TutelageError, match="the column 'hint' is None in a row"):
        column(rows(model, hint=("a", "b", None)))  # type: ignore[arg-type]


def test_text_that_it_cannot_read_is_refused_before_a_run() -> None:
    """The longest row with its prompt, those too that are written meanwhile."""
    model = student()
    fits = [Example([0, 1, 2], [False, True, True], {"hint": "a"})]
    SelfTeacher(prompt=PROMPT).takes(fits, 3, model)
    with pytest.raises(TutelageError, match="with the teacher's prompt"):
        SelfTeacher(prompt=PROMPT).takes(fits, 62, model)
    with pytest.raises(TutelageError, match=r"no column 'answer' to read before a row"):
        SelfTeacher(prompt_column="answer").takes(fits, 3, model)
    long = [*fits, Example([0, 1], [False, True], {"hint": "word " * 70})]
    with pytest.raises(TutelageError, match="with the teacher's prompt"):
        SelfTeacher(prompt_column="hint").takes(long, 3, model)
