"""Top-k lists that other tools wrote become a cache, or are refused by file and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_files import Row, axolotl, distillkit, rows_of

from small_caches import STORIES, TOKENIZER, saved_model, stories
from tutelage.distribution import TopK
from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.models import load_model, load_tokenizer
from tutelage.recipes import Recipe, read
from tutelage.run import distil
from tutelage.run.importing import import_cache
from tutelage.samples import DatasetSamples
from tutelage.stores.verify import verify
from tutelage.teachers import CachedTeacher, ModelTeacher
from tutelage.text import Example, collate

K = 12
CURVE: dict[str, Any] = {
    "k": K,
    "exact_k": 4,
    "exact_dtype": "float32",
    "term_dtype": "float32",
    "polynomial_terms": [0, 1, 2, "sqrt"],
    "residual_bins": [
        {"scale_dtype": "float16", "element_bits": 9, "num_elements": 5},
        {"scale_dtype": "float32", "element_bits": 3, "num_elements": 3},
    ],
    "delta_encoding": True,
}
EXACT: dict[str, Any] = {"k": K, "exact_k": K, "exact_dtype": "float32", "residual_bins": []}
PLAIN = {**CURVE, "delta_encoding": False, "normalize_t": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "teacher"
    return saved_model(folder, seed=3, n_embd=24, initializer_range=0.3)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """The training rows of the recipe."""
    samples = DatasetSamples(data=str(STORIES / "train.txt.gz"), max_rows=12, max_length=40, long="cut")
    return list(samples.open(load_tokenizer(TOKENIZER)).examples)


@pytest.fixture(scope="module")
def rows(model: Path, examples: list[Example]) -> list[Row]:
    """The teacher's lists for all of them."""
    return rows_of(load_model(model, machine=Machine()).model, [e.tokens for e in examples], K)


@pytest.fixture
def recipe(tmp_path: Path, model: Path) -> Recipe:
    return read(stories(tmp_path, model).resolved(), evaluation=None)


def agree(place: Path, model: Path, examples: list[Example], within: float) -> None:
    """The import says what the teacher says, on every row."""
    batch = collate(examples, 0)
    told = CachedTeacher(str(place)).open(Machine())(batch)
    said = ModelTeacher(str(model)).open(Machine())(batch).log_probs()
    assert isinstance(told, TopK)
    kept = told.ids >= 0
    assert bool(kept.all())
    expected = said.gather(1, told.ids)
    torch.testing.assert_close(told.log_probs_kept, expected, rtol=1e-3, atol=within)
    best = said.topk(K, 1).values
    torch.testing.assert_close(expected.sort(1, descending=True).values, best, rtol=0, atol=1e-4)


@pytest.mark.parametrize("flavour", ["lists", "vllm"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_axolotls_lists(
    tmp_path: Path,
    recipe: Recipe,
    model: Path,
    examples: list[Example],
    rows: list[Row],
    flavour: str,
    suffix: str,
) -> None:
    """The list at a token is about that token; shorter lists of lists belong to the end."""
    source = axolotl(tmp_path / f"kd{suffix}", rows, flavour=flavour)
    told = import_cache(str(source), str(tmp_path / "cache"), "axolotl", recipe=recipe)
    assert told.notes[0] == "12 rows were read, 12 kept"
    agree(tmp_path / "cache", model, examples, 1e-3)
    assert verify(str(tmp_path / "cache")).exit_status == 0
    distil(read(recipe.resolved(), teacher={"kind": "cached", "cache": str(tmp_path / "cache")}))


@pytest.mark.parametrize(
    ("config", "within"), [(None, 1e-3), (EXACT, 1e-3), (CURVE, 0.05), (PLAIN, 0.05)], ids=str
)
def test_distillkits_lists(
    tmp_path: Path,
    recipe: Recipe,
    model: Path,
    examples: list[Example],
    rows: list[Row],
    config: dict[str, Any] | None,
    within: float,
) -> None:
    """Plain, or compressed in any of the ways; the list at a token is about the next one."""
    folder = distillkit(tmp_path / "captured", rows, config, 2048)
    import_cache(str(folder), str(tmp_path / "cache"), "distillkit", recipe=recipe)
    agree(tmp_path / "cache", model, examples, within)


def test_without_a_recipe_the_labels_say_what_counts(tmp_path: Path, model: Path, rows: list[Row]) -> None:
    """A token with the label -100 leads up to what is said."""
    tokens, ids, logs = rows[0]
    labels = [-100] * 10 + tokens[10:]
    source = axolotl(tmp_path / "kd.jsonl", [(tokens, ids, logs)], labels=labels)
    told = import_cache(str(source), str(tmp_path / "cache"), "axolotl", tokenizer=str(TOKENIZER))
    assert (told.manifest.rows, told.manifest.tokens) == (1, len(tokens) - 10)
    counted = [n >= 10 for n in range(len(tokens))]
    agree(tmp_path / "cache", model, [Example(tokens, counted)], 1e-3)


def test_a_row_serves_the_beginnings_that_a_recipe_takes_of_it(
    tmp_path: Path, recipe: Recipe, model: Path, examples: list[Example], rows: list[Row]
) -> None:
    """What a causal teacher says of a beginning does not depend on what follows."""
    longer = rows_of(
        load_model(model, machine=Machine()).model, [[*tokens, 5, 6] for tokens, _, _ in rows], K
    )
    source = axolotl(tmp_path / "kd.jsonl", longer)
    import_cache(str(source), str(tmp_path / "cache"), "axolotl", recipe=recipe)
    agree(tmp_path / "cache", model, examples, 1e-3)


def test_rows_that_the_recipe_lacks_and_lists_that_are_missing_are_counted(
    tmp_path: Path, recipe: Recipe, rows: list[Row]
) -> None:
    """What was taken and what was left is told."""
    tokens, ids, logs = rows[0]
    cut = (tokens, ids[3:], logs[3:])
    stranger = ([9, 8, 7], ids[:2], logs[:2])
    source = axolotl(tmp_path / "kd.jsonl", [cut, stranger, *rows[1:5]], flavour="vllm")
    told = import_cache(str(source), str(tmp_path / "cache"), "axolotl", recipe=recipe)
    assert told.notes == (
        "6 rows were read, 4 kept",
        "of 12 different rows of the recipe 8 are not there",
        "1 rows were left out: no list for some token that counts",
    )


def test_lists_that_were_renormalised_are_told(tmp_path: Path, recipe: Recipe, rows: list[Row]) -> None:
    """The mass of the rest is lost, and nothing can bring it back."""
    source = axolotl(tmp_path / "kd.jsonl", [(t, i, x.log_softmax(1)) for t, i, x in rows])
    told = import_cache(str(source), str(tmp_path / "cache"), "axolotl", recipe=recipe)
    assert any("renormalised" in note for note in told.notes)


def test_an_import_can_be_given_twice(tmp_path: Path, recipe: Recipe, rows: list[Row]) -> None:
    """The same files make the same cache; others do not fit into its place."""
    source = axolotl(tmp_path / "kd.jsonl", rows)
    first = import_cache(str(source), str(tmp_path / "cache"), "axolotl", recipe=recipe)
    (tmp_path / "cache" / "manifest.json").unlink()
    again = import_cache(str(source), str(tmp_path / "cache"), "axolotl", recipe=recipe)
    assert first.manifest == again.manifest
    axolotl(source, rows[:3])
    with pytest.raises(TutelageError, match="holds another cache"):
        import_cache(str(source), str(tmp_path / "cache"), "axolotl", recipe=recipe)


def test_an_imported_cache_does_not_prove_its_teacher(
    tmp_path: Path, recipe: Recipe, model: Path, rows: list[Row]
) -> None:
    """Nobody knows the weights; `of:` is refused."""
    source = axolotl(tmp_path / "kd.jsonl", rows)
    import_cache(str(source), str(tmp_path / "cache"), "axolotl", recipe=recipe)
    with pytest.raises(TutelageError, match="made with another teacher"):
        CachedTeacher(str(tmp_path / "cache"), of=ModelTeacher(str(model))).open(Machine())


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"messages": []}', "has the columns messages"),
        ('{"input_ids": [1, 2]}', "has the columns input_ids"),
        (
            '{"input_ids": [1, 2], "target_logprobs": [[-1], [-1]], "target_token_ids": [[1], []]}',
            "1 log-prob",
        ),
        (
            '{"input_ids": [1], "target_logprobs": [[-1], [-1]], "target_token_ids": [[1], [2]]}',
            "2 lists for 1",
        ),
        (
            '{"input_ids": [1, 2], "logprobs": [[3.0], [3.0]], "target_token_ids": [[1], [2]]}',
            "sum to 20.0855",
        ),
        ('{"input_ids": ["x"], "target_logprobs": [[-1]], "target_token_ids": [[1]]}', "ValueError"),
        ("{", "not JSON"),
        (
            '{"input_ids": [7, 8], "target_logprobs": [[-1], [-1]], "target_token_ids": [[1], [2]]}',
            "none of its 1",
        ),
    ],
)
def test_what_is_not_of_the_layout_is_refused_by_file_and_row(
    tmp_path: Path, recipe: Recipe, row: str, told: str
) -> None:
    """Three lines; nothing is written."""
    (tmp_path / "kd.jsonl").write_text(row + "\n")
    with pytest.raises(TutelageError, match=told) as caught:
        import_cache(str(tmp_path / "kd.jsonl"), str(tmp_path / "cache"), "axolotl", recipe=recipe)
    assert "kd.jsonl" in caught.value.problem
    assert not (tmp_path / "cache").exists()


def test_distillkits_older_layout_and_a_lost_configuration_are_refused(
    tmp_path: Path, recipe: Recipe, rows: list[Row]
) -> None:
    """Each with what to do."""
    import pyarrow
    import pyarrow.parquet

    legacy = pyarrow.Table.from_pylist([{"input_ids": [1, 2], "packed_indices": [[1]], "coeffs": [[0.5]]}])
    pyarrow.parquet.write_table(legacy, tmp_path / "old.parquet")
    with pytest.raises(TutelageError, match="packed_indices") as caught:
        import_cache(str(tmp_path / "old.parquet"), str(tmp_path / "cache"), "distillkit", recipe=recipe)
    assert "older layout" in caught.value.fix
    folder = distillkit(tmp_path / "captured", rows, EXACT, 2048)
    (folder / "compression_config.yaml").write_text("polynomial_degree: 3\nk: 4\n")
    with pytest.raises(TutelageError, match="no configuration of compressed lists"):
        import_cache(str(folder), str(tmp_path / "cache"), "distillkit", recipe=recipe)
    (folder / "compression_config.yaml").unlink()
    with pytest.raises(TutelageError, match=r"no compression_config.yaml beside the file"):
        import_cache(str(folder), str(tmp_path / "cache"), "distillkit", recipe=recipe)
    with pytest.raises(TutelageError, match="no top-k lists to import"):
        import_cache(str(tmp_path / "cache"), str(tmp_path / "cache"), "distillkit", recipe=recipe)
