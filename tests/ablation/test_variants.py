"""Which variants a recipe has, and what each of them changes."""

import pytest

from calrec.ablation.variants import FULL, VARIANTS, named, variants_of
from calrec.errors import ConfigError
from calrec.training.config import TrainingPlan


def plan(**changes):
    base = {
        "text": {"attributes": ["brand", {"name": "title", "max_words": 6}]},
        "stage_one": {"domains": ["a", "b"]},
        "stage_two": {"domain": "b"},
    }
    return TrainingPlan.model_validate(base | changes)


def there(recipe, samples=32):
    return {variant.name: its for variant, its in variants_of(recipe, samples).items()}


def test_each_is_one_change_of_the_recipe():
    whole = plan(objective={"item_weight": 0.3})
    its = there(whole)
    assert list(its) == [variant.name for variant in VARIANTS]
    assert its["full"] == its["without-fine-tuning"] == its["samples-4"] == its["best-alone"] == whole
    assert (its["without-stage-one"].stage_one, its["without-stage-two"].stage_two) == (None, None)
    objectives = {name: its[name].objective for name in ("without-l-tt", "without-l-ut", "nig-alone")}
    kept = {name: set(objective.weights) for name, objective in objectives.items()}
    assert kept == {
        "without-l-tt": {"nig", "ut", "item"},
        "without-l-ut": {"nig", "tt", "item"},
        "nig-alone": {"nig", "item"},
    }
    assert its["encoders"].objective.weights == {"ut": 1}
    assert its["without-prefixes"].text.prefixes == ()
    assert [(a.name, a.max_words) for a in its["title-alone"].text.attributes] == [("title", 6)]
    assert set(its["without-item-texts"].objective.weights) == {"nig", "tt", "ut"}
    assert its["catalogue-texts"].stage_two.catalogue_texts > 0
    assert its["catalogue-texts"].stage_one == whole.stage_one
    for name in ("without-stage-one", "without-stage-two", "without-prefixes", "title-alone"):
        same = set(whole.model_dump()) - {"stage_one", "stage_two", "text"}
        assert its[name].model_dump(include=same) == whole.model_dump(include=same)


@pytest.mark.parametrize(
    ("changes", "without"),
    [
        ({}, {"without-item-texts", "catalogue-texts"}),
        ({"stage_one": None, "objective": {"item_weight": 1}}, {"without-stage-one", "without-stage-two"}),
        ({"objective": {"alpha": 0, "item_weight": 1}}, {"without-l-tt", "nig-alone"}),
        ({"text": {"attributes": ["title"]}, "objective": {"item_weight": 1}}, {"title-alone"}),
        ({"text": {"attributes": ["brand"]}, "objective": {"item_weight": 1}}, {"title-alone"}),
        (
            {"stage_two": {"domain": "b", "catalogue_texts": 2}, "objective": {"item_weight": 1}},
            {"catalogue-texts"},
        ),
        ({"objective": {"next_item": False, "item_weight": 1, "beta": 0}}, {"without-l-ut", "nig-alone"}),
    ],
)
def test_what_changes_nothing_or_equals_another_is_left_out(changes, without):
    assert {variant.name for variant in VARIANTS} - set(there(plan(**changes))) == without


def test_only_fewer_samples_than_there_are():
    assert [name for name in there(plan(), 8) if name.startswith("samples")] == ["samples-1", "samples-2", "samples-4"]


def test_the_full_recipe_stands_beside_whatever_is_asked_for():
    chosen = named(plan(), 32, ["samples-2", "nig-alone"])
    assert [variant.name for variant in chosen] == ["full", "nig-alone", "samples-2"]
    assert list(named(plan(), 32, [])) == list(variants_of(plan(), 32))
    assert next(iter(chosen)) is FULL


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("without-stage-1", "did you mean without-stage-"),
        ("zzz", "known are full, without-stage-one"),
        ("without-item-texts", "this recipe has no such variant.* it has full, "),
        ("samples-16", "this recipe has no such variant"),
    ],
)
def test_a_name_that_cannot_be_had_is_explained(name, said):
    with pytest.raises(ConfigError, match=f"--only {name}: .*{said}"):
        named(plan(), 8, [name])
