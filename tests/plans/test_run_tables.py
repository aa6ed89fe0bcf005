"""Tables of runs: what is understood, and what is refused with file, line and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_studies import small_study, write_table
from tutelage.errors import OutOfRange, TutelageError
from tutelage.plans.fitted import fit_runs
from tutelage.plans.fitting import fit_study
from tutelage.plans.runs import read_table


def table(tmp_path: Path, *rows: str, heading: str = "name,N,D,L,L_T") -> Path:
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([heading, *rows]) + "\n")
    return path


def test_a_table_gives_back_the_runs_that_were_written(tmp_path: Path) -> None:
    """Names, numbers and teachers survive; only the place is new."""
    runs = small_study(noise=0.01)
    read, said = read_table(write_table(tmp_path / "runs.csv", runs))
    assert said == []
    for one, other in zip(runs, read, strict=True):
        assert (one.name, one.parameters, one.tokens, one.loss) == (
            other.name,
            other.parameters,
            other.tokens,
            other.loss,
        )
        assert (one.teacher, one.teacher_loss) == (other.teacher, other.teacher_loss)
        assert other.where.startswith(str(tmp_path / "runs.csv:"))


def test_other_names_of_columns_are_understood(tmp_path: Path) -> None:
    """Whoever logs `params, tokens, val_loss, teacher_loss` need not rename; strange columns are not read."""
    path = table(
        tmp_path, "1e6,2e7,3.1,,9", "1e6,2e7,2.9,2.5,9", heading="Params,tokens,val_loss,teacher_loss,mood"
    )
    supervised, distilled = read_table(path)[0]
    assert not supervised.distilled
    assert distilled.distilled
    assert (distilled.parameters, distilled.tokens, distilled.loss, distilled.teacher_loss) == (
        1e6,
        2e7,
        2.9,
        2.5,
    )
    assert supervised.name == "line 2"


def test_one_teacher_is_one_teacher_however_often_it_was_measured(tmp_path: Path) -> None:
    """Strata and hold-outs go by teacher; its size and tokens tell it, not the digits of its loss."""
    rows = ("1e6,2e7,2.9,2.5,1e8,1e9", "1e6,4e7,2.8,2.5001,1e8,1e9", "1e6,4e7,2.8,2.4,2e8,1e9")
    runs = read_table(table(tmp_path, *rows, heading="N,D,L,L_T,N_T,D_T"))[0]
    assert runs[0].teacher == runs[1].teacher != runs[2].teacher


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,1B,2e7,3.1,", "runs.csv:2: N is '1B'"),
        ("a,1e6,,3.1,", "runs.csv:2: D is empty"),
        ("a,1e6,2e7,nan,", "runs.csv:2: L is nan"),
        ("a,1e6,-2e7,3,", "runs.csv:2: D is -20000000.0"),
        ("a,1e6,2e7,22.2,", "runs.csv:2: L is 22.2: a perplexity?"),
        ("a,1e6,2e7,3.1,40", "runs.csv:2: L_T is 40: a perplexity?"),
        ("a,0.3,2e7,3.1,", "runs.csv:2: N is 0.3: in millions or billions?"),
        ("a,1e6,20,3.1,", "runs.csv:2: D is 20: in millions or billions?"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_line(tmp_path: Path, row: str, says: str) -> None:
    """The error is a page of documentation read at the worst moment."""
    with pytest.raises(TutelageError) as caught:
        read_table(table(tmp_path, row))
    assert says in caught.value.problem


@pytest.mark.parametrize(
    ("heading", "says"),
    [
        ("N,D", "no column L"),
        ("N,L", "no column D"),
        ("N,D,val_bpb", "'val_bpb' looks like bits"),
        ("N,params,D,L", "both mean N"),
    ],
)
def test_a_heading_that_cannot_be_read_is_refused(tmp_path: Path, heading: str, says: str) -> None:
    """Bits per byte are no nats per token, and two columns for one thing are a question."""
    with pytest.raises(TutelageError, match=says):
        read_table(table(tmp_path, heading=heading))


def test_two_runs_of_one_name_are_refused_unless_their_seeds_differ(tmp_path: Path) -> None:
    """A name is what a run is held out by."""
    with pytest.raises(TutelageError, match="a second run is called 'a'"):
        read_table(table(tmp_path, "a,1e6,2e7,3,", "a,1e6,2e7,3.1,"))
    path = table(tmp_path, "a,1e6,2e7,3,0", "a,1e6,2e7,3.1,1", heading="name,N,D,L,seed")
    assert [run.name for run in read_table(path)[0]] == ["a seed 0", "a seed 1"]


def test_a_run_at_another_temperature_is_left_out_and_it_is_said(tmp_path: Path) -> None:
    """The law is about temperature 1 and the teacher alone; silence would bend the fit."""
    path = table(tmp_path, "a,1e6,2e7,3,2.5,1", "b,1e6,2e7,3,2.5,2", heading="name,N,D,L,L_T,tau")
    runs, said = read_table(path)
    assert [run.name for run in runs] == ["a"]
    assert said == ["b is left out: temperature 2; the law is about temperature 1"]


def test_a_teacher_without_a_loss_needs_size_and_tokens(tmp_path: Path) -> None:
    """From one of them alone the supervised law predicts nothing."""
    with pytest.raises(OutOfRange, match="has no loss"):
        read_table(table(tmp_path, "1e6,2e7,3,1e8", heading="N,D,L,N_T"))


def test_runs_of_two_tokenizers_are_refused(tmp_path: Path) -> None:
    """Nats per token of one tokenizer are no nats per token of another."""
    rows = ["1e6,2e7,3,aa", "2e6,2e7,3,aa", "4e6,2e7,3,bb"]
    runs, _ = read_table(table(tmp_path, *rows, heading="N,D,L,tokenizer"))
    with pytest.raises(OutOfRange, match="tokenizer 'bb'"):
        fit_study(runs)


@pytest.mark.parametrize(("vocabulary", "says"), [(20, "bits"), (8, "guessing among 8 tokens")])
def test_a_loss_above_guessing_is_refused(vocabulary: int, says: str) -> None:
    """Nobody who trains ends above ln V; between ln V and log2 V it is likely bits."""
    with pytest.raises(OutOfRange, match=says):
        fit_runs(small_study(), vocabulary=vocabulary)
