"""Arms and seeds: a study is the runs that one would have written out by hand."""

from __future__ import annotations

import pytest

from tutelage.errors import TutelageError
from tutelage.recipes import load, read


def test_an_arm_is_the_recipe_with_its_changes(place):
    """Each run of a study equals the plain recipe with the same changes on the command line."""
    study = load(
        "recipe.yaml",
        ["arms={sft: {divergence: cross_entropy}, long: {training: {max_steps: 9}}}", "seeds=[4, 5]"],
    )
    runs = {(arm, seed): recipe for arm, seed, recipe in study.runs()}
    assert list(runs) == [("sft", 4), ("sft", 5), ("long", 4), ("long", 5)]
    by_hand = load("recipe.yaml", ["training.max_steps=9", "seed=5", "out=runs/first/arms/long/seed-5"])
    assert runs["long", 5] == by_hand
    by_hand = load("recipe.yaml", ["divergence=cross_entropy", "seed=4", "out=runs/first/arms/sft/seed-4"])
    assert runs["sft", 4] == by_hand


def test_a_plain_recipe_is_one_run_in_its_own_folder(place):
    """No folders of arms where nobody asked for arms."""
    recipe = load("recipe.yaml")
    assert recipe.runs() == [("student", 3, recipe)]
    assert not recipe.is_study


def test_seeds_alone_make_a_study(place):
    """Also a single one: the folder then has room for more."""
    recipe = load("recipe.yaml", ["seeds=[7]"])
    assert recipe.is_study
    assert [(arm, seed, run.out) for arm, seed, run in recipe.runs()] == [
        ("student", 7, "runs/first/arms/student/seed-7")
    ]


def test_a_study_whose_arms_have_divergences_needs_none_of_its_own(place):
    """And an arm that has none is a fault of that arm."""
    text = (place / "recipe.yaml").read_text().replace("divergence: {kind: jensen_shannon, beta: 0.3}\n", "")
    (place / "recipe.yaml").write_text(text + "arms: {sft: {divergence: cross_entropy}}\n")
    recipe = load("recipe.yaml")
    assert recipe.objective == ()
    assert not recipe.needs_teacher
    with pytest.raises(TutelageError, match="`divergence` is missing"):
        load("recipe.yaml", ["arms.other={}"])


def test_an_arm_that_names_a_kind_replaces_and_one_that_does_not_changes(place):
    """`samples: {max_length: 9}` keeps the data; `teacher: {kind: ...}` starts anew."""
    arms = "arms={short: {samples: {max_length: 9}}, other: {divergence: {kind: jensen_shannon}}}"
    study = load("recipe.yaml", [arms])
    assert study.arms["short"].samples.options["data"] == "data/train.jsonl"
    assert study.arms["short"].samples.options["max_length"] == 9
    assert study.arms["other"].objective[0].options["beta"] == 0.5


def test_saying_it_later_takes_the_earlier_back(place):
    """Two keys that say one thing do not fight when the second comes from an arm or the command line."""
    assert len(load("recipe.yaml", ["objective=[forward_kl, cross_entropy]"]).objective) == 2
    assert load("recipe.yaml", ["training.num_train_epochs=2"]).training.max_steps == -1
    assert load("recipe.yaml", ["seeds=[1]", "seed=2"]).seeds == ()


def test_a_word_reaches_into_lists_and_short_forms(place):
    """`objective.0.weight` and `divergence.beta` work whatever the file spells out."""
    words = ["objective=[forward_kl, {divergence: jensen_shannon, beta: 0.1}]"]
    recipe = load("recipe.yaml", [*words, "objective.0.weight=0.5", "objective.1.beta=0.7"])
    assert recipe.objective[0].weight == 0.5
    assert recipe.objective[1].options["beta"] == 0.7
    assert (
        load("recipe.yaml", ["divergence=jensen_shannon", "divergence.beta=0.9"]).objective[0].options["beta"]
        == 0.9
    )
    with pytest.raises(TutelageError, match=r"`objective` has no item '7'"):
        load("recipe.yaml", [*words, "objective.7.weight=1"])


def test_a_fault_that_all_arms_share_is_told_once(place):
    """It stands on one line of the file, however many arms inherit it."""
    text = (place / "recipe.yaml").read_text().replace("max_length: 64", "max_lenght: 64")
    (place / "recipe.yaml").write_text(text)
    with pytest.raises(TutelageError) as error:
        load("recipe.yaml", ["arms={a: {}, b: {}, c: {}}"])
    assert len(str(error.value).splitlines()) == 3


def test_the_sentence_says_each_way_once(place):
    """Five words for a person; where arms differ, all their words."""
    study = load(
        "recipe.yaml", ["arms={a: {divergence: cross_entropy}, b: {}, c: {training: {max_steps: 6}}}"]
    )
    assert study.sentence() == {
        "teacher": "the model models/teacher",
        "divergence": "cross-entropy or Jensen-Shannon",
        "samples": "the data set train",
        "constraint": "none",
        "plan": "none",
    }
    two = read("recipe.yaml", objective=[{"divergence": "forward_kl", "weight": 0.9}, "cross_entropy"])
    assert two.sentence()["divergence"] == "0.9 forward KL + 1 cross-entropy"


def test_every_word_of_every_arm_is_cited(place):
    """First the papers of the file's head, then those of the words, none twice."""
    study = load("recipe.yaml", ["arms={a: {divergence: total_variation}, b: {divergence: forward_kl}}"])
    assert study.papers == ("minillm", "gkd", "f-distill", "hinton")


def test_an_arm_that_repeats_a_known_fault_is_not_taken_for_right(place):
    """The second arm meets a fault that is known already; it must stop there as the first one did."""
    with pytest.raises(TutelageError) as error:
        load("recipe.yaml", ["training.max_steps=0", "evaluation.max_rows=0", "arms={a: {}, b: {}}"])
    assert len(str(error.value).splitlines()) == 6
