"""Reading a recipe: what holds for every good one, and what a mistake is answered with."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import Several, TutelageError
from tutelage.recipes import StudentWord, TeacherWord, Term, families, from_dict, load, read
from tutelage.registry import options


def fault(path, *words: str) -> str:
    """What a recipe that cannot be used is answered with."""
    with pytest.raises(TutelageError) as error:
        load(path, words)
    return str(error.value)


def changed(place, old: str, new: str) -> str:
    """The name of the recipe after a change of its text."""
    text = (place / "recipe.yaml").read_text()
    assert old in text
    (place / "recipe.yaml").write_text(text.replace(old, new))
    return "recipe.yaml"


def test_short_forms_mean_their_long_forms(place):
    """One word for a teacher, a divergence or a student is short for a mapping."""
    recipe = load("recipe.yaml", ["divergence=forward_kl", "student=models/teacher"])
    assert recipe.student == StudentWord(model="models/teacher")
    assert recipe.teacher == TeacherWord(
        "model", {"model": "models/teacher", "tokenizer": None, "dtype": None}
    )
    assert recipe.objective == (Term("forward_kl"),)
    assert recipe.papers == ("minillm", "hinton")


def test_a_term_is_against_what_its_divergence_says(place):
    """Cross-entropy is against the gold tokens unless a recipe says otherwise."""
    recipe = load("recipe.yaml", ["objective=[cross_entropy, {divergence: cross_entropy, against: teacher}]"])
    assert [term.against for term in recipe.objective] == ["gold", "teacher"]


def test_numbers_are_read_as_people_write_them(place):
    """1e-4 is a number, although YAML 1.1 says it is text; an integer does for a float."""
    assert load("recipe.yaml").training.learning_rate == 1e-4
    assert load("recipe.yaml", ["training.learning_rate=1"]).training.learning_rate == 1.0
    assert load("recipe.yaml", ["training.max_steps=1_000"]).training.max_steps == 1000
    assert load("recipe.yaml", ["training.max_steps=1e3"]).training.max_steps == 1000


def test_on_is_a_word_and_not_true(place):
    """YAML 1.1 reads the key `on` as a truth value; a recipe uses it for the writer."""
    recipe = load("recipe.yaml", ["objective=[{divergence: forward_kl, on: dataset}]"])
    assert recipe.objective[0].on == "dataset"


def test_a_fault_has_line_value_expectation_and_remedy(place):
    """The three lines of the README."""
    path = changed(place, "{kind: jensen_shannon, beta: 0.3}", "revers_kl")
    problem, expected, fix = fault(path).splitlines()
    assert problem == "recipe.yaml:7: unknown divergence 'revers_kl'"
    assert expected.startswith("  expected  ")
    assert "reverse_kl" in expected
    assert fix.startswith("  to fix    write 'reverse_kl' (the nearest name)")


def test_all_faults_are_told_at_once_in_the_order_of_the_file(place):
    """A recipe is mended in one go."""
    changed(place, "jensen_shannon", "jenson_shannon")
    changed(place, "learning_rate", "learnin_rate")
    path = changed(place, "max_length: 64", "max_length: long")
    with pytest.raises(Several) as error:
        load(path, ["training.max_step=5", "nonsense"])
    lines = [one.problem for one in error.value.faults]
    assert [line.partition(": ")[0] for line in lines] == [
        "recipe.yaml:7",
        "recipe.yaml:8",
        "recipe.yaml:10",
        "training.max_step=5 (command line)",
        "nonsense (command line)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1e-4", "0", "`training.learning_rate` is 0"),
        ("1e-4", "-1e-4", "a number above 0"),
        ("1e-4", ".nan", "a number above 0"),
        ("1e-4", "fast", "`training.learning_rate` is 'fast'"),
        ("1e-4", '"1e-4"', "write 0.0001 without quotes"),
        ("max_steps: 5", "max_steps: -5", "a whole number of at least 1 or -1"),
        ("max_steps: 5", "max_steps: 0", "a whole number of at least 1 or -1"),
        ("max_steps: 5", "max_steps: 2.5", "`training.max_steps` is 2.5"),
        ("max_steps: 5", "adam_beta1: 1.0", "a number from 0 to 1 without 1 itself"),
        ("max_steps: 5", "bf16: yes", "write `true` or `false` without quotes"),
        ("max_steps: 5", "lr_scheduler_type: linnear", "linear, cosine, constant or constant_with_warmup"),
        (
            "max_steps: 5",
            "lr_scheduler_type: constant\n  warmup_steps: 2",
            "write `lr_scheduler_type: constant_with_warmup`",
        ),
        ("max_steps: 5", "output_dir: x", "write `out:` at the top of the recipe"),
        ("max_steps: 5", "fp16: true", "write `bf16: true`"),
        ("max_steps: 5", "optim: adafactor", "the optimiser is AdamW"),
        ("max_steps: 5", "max_steps: 5\n  max_steps: 6", "'max_steps' for the second time"),
        ("out: runs/first", "outt: runs/first", "write `out:` (the nearest name)"),
        ("out: runs/first", "out: data/train.jsonl", "`out` is the file 'data/train.jsonl'"),
        ("out: runs/first", "learning_rate: 1", "write it under `training:`"),
        ("models/teacher\ndiv", "models/teecher\ndiv", "write 'models/teacher' (the nearest name)"),
        ("models/teacher\ndiv", "data\ndiv", "no `config.json` there"),
        ("models/teacher\ndiv", "none\ndiv", "jensen_shannon compares the student with a teacher"),
        ("models/teacher\ndiv", "package:nothing\ndiv", "the package has no file 'nothing'"),
        ("models/teacher\ndiv", "{kind: modell}\ndiv", "unknown teacher 'modell'"),
        ("models/teacher\ndiv", "{kind: model}\ndiv", "`teacher.model` is missing"),
        ("models/teacher\ndiv", "{kind: mixture, teachers: [none]}\ndiv", "take the item out of the list"),
        ("data/train.jsonl, ", "data/train.json, ", "no such file or folder 'data/train.json'"),
        ("kind: dataset, ", "", "`samples.kind` is missing"),
        ("beta: 0.3", "beta: [0.3]", "`divergence.beta` is a list"),
        ("beta: 0.3", "betta: 0.3", "write `beta:` (the nearest name)"),
        ("beta: 0.3", "weight: -1", "a number of at least 0"),
        ("beta: 0.3", "temperature: 0", "a number above 0"),
        ("beta: 0.3", "on: nobody", "all, dataset, teacher or student"),
        ("jensen_shannon, beta: 0.3", "top1_agreement", "a measure for reports"),
        ("model_type: gpt2, ", "", "`student.config.model_type` is missing"),
        (", tokenizer: models/teacher", "", "`student.tokenizer` is missing"),
        ("tokenizer:", "model: models/teacher, tokenizer:", "both `model` and `config`"),
        ("seed: 3", "seed: -3", "a whole number of at least 0"),
        ("seed: 3", "seed: 3\nseeds: [1]", "`seed` and `seeds` both"),
        ("seed: 3", "seeds: [1, 1]", "`seeds` names one twice"),
        ("seed: 3", "seeds: []", "`seeds` is empty"),
        ("seed: 3", "control: sft", "a recipe with `arms:`"),
        ("seed: 3", "plan: scaling", "unknown plan"),
        ("seed: 3", "estimator: per_word", "unknown estimator 'per_word'"),
        ("seed: 3", "constraint: ternary", "unknown constraint 'ternary'"),
        ("seed: 3", "objective: [forward_kl]", "`divergence` and `objective` both"),
        ("seed: 3", "arms: {untouched: {}}", "'untouched' cannot be the name of an arm"),
        ("seed: 3", "arms: {a/b: {}}", "'a/b' cannot be the name of an arm"),
        ("seed: 3", "arms: {a: {out: x}}", "'out' cannot be changed by the arm `a`"),
        ("seed: 3", "arms: {a: forward_kl}", "the arm `a` is 'forward_kl'"),
        ("seed: 3", "arms: [a]", "`arms` is a list"),
        ("seed: 3", "arms: {sft: {}}\ncontrol: sgt", "write `control: sft`"),
        ("seed: 3", "<<: {seed: 3}", "a key that is not a word"),
        ("seed: 3", "? [a, b]\n: 3", "a key that is not a word"),
        ("seed: 3", "seed: !!python/object/apply:os.system [ls]", "'!!python/object/apply:os.system'"),
        ("seed: 3", "seed: !!int 3", "the tag '!!int' is not read"),
        ("seed: 3", "\tseed: 3", "not YAML"),
        ("seed: 3", "seed: {", "not YAML"),
        ("seed: 3", "seed: *nowhere", "not YAML"),
        ("seed: 3", "seed: &a [*a]", "too deep or too big"),
        ("seed: 3", "seed: " + "[" * 3000, "too deep or too big"),
        ("seed: 3", "seed: \x07", "the character 0x7 is not allowed"),
        ("seed: 3", "seed: 3\n---\nout: x", "not YAML"),
    ],
)
def test_a_mistake_is_named(place, old, new, said):
    """What was typed, what would do, and where: each kind of mistake has its own words."""
    text = fault(changed(place, old, new))
    assert said in text
    assert len(text.splitlines()) % 3 == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "recipe.yaml: empty"),
        (b"# only a comment\n", "recipe.yaml: empty"),
        (b"- a\n- b\n", "a list instead of a recipe"),
        (b"forward_kl\n", "'forward_kl' instead of a recipe"),
        (b"out: caf\xe9\n", "recipe.yaml:1: not UTF-8"),
        (b"\xff\xfeo\x00u\x00t\x00", "not UTF-8"),
        (b"{}", "`student` is missing"),
        (b"x" * (1 << 21), "more than 1 MiB long"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(place, content, said):
    """Also what is not text, not a mapping or not there at all."""
    (place / "recipe.yaml").write_bytes(content)
    assert said in fault("recipe.yaml")


def test_a_recipe_that_is_not_there_is_answered_with_a_neighbour(place):
    """A file beside it, or a name of the library."""
    assert "write 'recipe.yaml' (the nearest name)" in fault("recipe.yml")
    assert "a folder, not a recipe" in fault("data")
    assert "write 'demo' (the nearest name)" in fault("dmo")
    assert "no such recipe" in fault("x" * 5000)


def test_an_alias_that_stands_for_a_great_many_is_refused(place):
    """A few lines of YAML can describe a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (place / "recipe.yaml").write_text("\n".join(lines))
    assert "too deep or too big" in fault("recipe.yaml")


def test_a_byte_order_mark_is_no_fault(place):
    """Some editors write one in front of UTF-8."""
    text = (place / "recipe.yaml").read_bytes()
    (place / "recipe.yaml").write_bytes(b"\xef\xbb\xbf" + text)
    assert load("recipe.yaml").cites == ("minillm",)


def test_what_was_resolved_is_the_recipe(place):
    """Reading run.json's recipe, or the same as YAML, gives the same recipe and the same hash."""
    recipe = load("recipe.yaml", ["arms={sft: {divergence: cross_entropy, training: {max_steps: 7}}}"])
    again = from_dict(json.loads(json.dumps(recipe.resolved())))
    assert again == recipe
    assert again.hash == recipe.hash
    (place / "again.yaml").write_text(yaml.safe_dump(recipe.resolved()))
    assert load("again.yaml").hash == recipe.hash


FIELDS = {
    "training.learning_rate": st.floats(1e-9, 10),
    "training.max_steps": st.integers(1, 10**9) | st.just(-1),
    "training.num_train_epochs": st.floats(0.01, 100) | st.integers(1, 100),
    "training.report_to": st.lists(st.sampled_from(["tensorboard", "wandb"]), unique=True),
    "training.bf16": st.booleans(),
    "samples.prompt": st.text(max_size=20),
    "samples.max_rows": st.none() | st.integers(1, 1000),
    "divergence.beta": st.floats(0, 1),
    "evaluation.prompts": st.lists(st.text(max_size=9), max_size=3),
    "seed": st.integers(0, 2**31),
}


@pytest.mark.parametrize("form", ["python", "yaml", "words"])
def test_any_good_recipe_survives_its_own_record(place, form):
    """resolved() is a fixed point, in whatever form a value was said: as a dict, as YAML, as key=value."""

    @given(said=st.fixed_dictionaries({}, optional=FIELDS))
    def holds(said):
        plain = yaml.safe_load((place / "recipe.yaml").read_text())
        plain["training"]["learning_rate"] = 1e-4
        for key, value in said.items():
            *path, leaf = key.split(".")
            inner = plain
            for name in path:
                inner = inner[name]
            inner[leaf] = value
        if form == "python":
            recipe = from_dict(plain)
        elif form == "yaml":
            (place / "made.yaml").write_text(yaml.safe_dump(plain, allow_unicode=True))
            recipe = load("made.yaml")
        else:
            # Epochs said later than steps take the steps back, so steps come last.
            words = [f"{key}={json.dumps(said[key])}" for key in sorted(said, reverse=True)]
            recipe = load("recipe.yaml", words)
            if "training.num_train_epochs" in said and "training.max_steps" not in said:
                del plain["training"]["max_steps"]
            assert recipe.difference(from_dict(plain)) == []
        again = from_dict(recipe.resolved())
        assert again.resolved() == recipe.resolved()
        assert again.hash == recipe.hash

    holds()


def test_the_folder_is_no_part_of_the_hash_and_everything_else_is(place):
    """A run may be moved; a recipe with another value is another recipe, and the difference is told."""
    recipe = load("recipe.yaml")
    assert load("recipe.yaml", ["out=elsewhere"]).hash == recipe.hash
    other = load("recipe.yaml", ["training.max_steps=6", "divergence=reverse_kl"])
    assert other.hash != recipe.hash
    assert "training.max_steps: 5 here, 6 there" in recipe.difference(other)
    assert "objective.0.divergence.beta: 0.3 here, nothing there" in recipe.difference(other.resolved())
    assert recipe.difference(recipe) == []


def test_order_and_spelling_do_not_change_the_hash(place):
    """Short or long, first or last, with the default said or not: one recipe."""
    (place / "other.yaml").write_text(
        """
        training: {max_steps: 5, learning_rate: 0.0001, warmup_steps: 0}
        samples: {max_length: 64, data: data/train.jsonl, kind: dataset, shuffle: true}
        objective: [{divergence: {beta: 0.3, kind: jensen_shannon}, weight: 1, on: all}]
        teacher: {kind: model, model: models/teacher, tokenizer: none}
        estimator: per_token
        constraint: {kind: none}
        evaluation: {data: data/train.jsonl}
        student: {tokenizer: models/teacher, config: {n_embd: 8, model_type: gpt2}}
        seed: 3
        out: elsewhere
        """
    )
    assert load("other.yaml").hash == load("recipe.yaml").hash


def test_teachers_nest(place):
    """A mixture of a model and a mixture; a fault deep inside has its line and its place."""
    inner = "{kind: mixture, teachers: [models/teacher, models/teacher], weights: [1, 3]}"
    recipe = load("recipe.yaml", [f"teacher={{kind: mixture, teachers: [models/teacher, {inner}]}}"])
    assert recipe.teacher is not None
    outer = recipe.teacher.options["teachers"]
    assert [word.kind for word in outer] == ["model", "mixture"]
    assert outer[1].options["weights"] == (1.0, 3.0)
    assert from_dict(recipe.resolved()) == recipe
    assert "mixture" in recipe.sentence()["teacher"]
    text = fault("recipe.yaml", "teacher={kind: mixture, teachers: [{kind: model, model: models/teacherr}]}")
    assert "no such file or folder 'models/teacherr'" in text


def test_python_changes_a_recipe_as_the_command_line_does(place):
    """Keywords are laid over the file like key=value words."""
    by_word = load("recipe.yaml", ["training.max_steps=7", "divergence=reverse_kl"])
    assert read("recipe.yaml", training={"max_steps": 7}, divergence="reverse_kl") == by_word
    assert read(load("recipe.yaml"), training={"max_steps": 7}, divergence="reverse_kl") == by_word
    with pytest.raises(TutelageError, match=r"override.training.max_step: unknown key 'max_step'"):
        read("recipe.yaml", training={"max_step": 7})


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", lambda: 0], ids=["object", "set", "bytes", "function"]
)
def test_a_python_object_is_no_value(place, value):
    """A recipe is written into run.json, so it holds plain values only."""
    with pytest.raises(TutelageError, match="a value of type"):
        read("recipe.yaml", student=value)


def test_every_option_of_every_entry_can_be_said(place):
    """What `tutelage list` offers a recipe accepts: each option with its own default."""
    for name, entry in families()["divergences"].items():
        if entry.trains:
            said = {option.name: option.default for option in options(entry).values()}
            recipe = read("recipe.yaml", divergence={"kind": name, **said})
            assert recipe.objective[0].options == said


def test_errors_found_later_still_get_their_line(place):
    """A run that opens the teacher puts the recipe's line in front of what goes wrong."""
    recipe = load("recipe.yaml")
    with pytest.raises(TutelageError) as error, recipe.blaming("teacher"):
        raise TutelageError("no weights", expected="weights", fix="get some")
    assert error.value.problem == "recipe.yaml:6: no weights"
    with pytest.raises(TutelageError) as error, recipe.blaming("objective.0"):
        raise TutelageError("beta is 3", expected="less", fix="write less")
    assert str(error.value).startswith("recipe.yaml:7: beta is 3\n")
