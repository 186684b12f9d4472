"""Settings from a user's hands: every wrong key at once, with the near one."""

import pytest

from calrec.errors import ConfigError
from calrec.recipe import SHIPPED, load_recipe
from calrec.settings import Settings, read_settings
from calrec.training.config import TrainingPlan


class Inner(Settings):
    depth: int = 1


class Outer(Settings):
    inner: Inner | None = None
    several: tuple[Inner, ...] = ()
    name: str = "x"


def test_overrides_reach_into_what_is_there_and_what_is_not():
    settings = read_settings(Outer, {"inner": {"depth": 2}}, ["inner.depth=3", "name=y"])
    assert (settings.inner, settings.name) == (Inner(depth=3), "y")
    assert read_settings(Outer, {}, ["inner.depth=3"]).inner == Inner(depth=3)
    assert read_settings(Outer, {"inner": {"depth": 2}}, ["inner=null"]).inner is None


def test_the_values_given_stay_as_they_were():
    values = {"inner": {"depth": 2}}
    read_settings(Outer, values, ["inner.depth=3"])
    assert values == {"inner": {"depth": 2}}


def test_every_wrong_key_is_named_at_once_with_the_near_one():
    with pytest.raises(ConfigError) as error:
        read_settings(Outer, {"nmae": 1, "inner": {"deth": 2}}, where="recipe r.yaml")
    said = str(error.value)
    assert said.startswith("recipe r.yaml: ")
    assert "unknown key 'nmae': did you mean 'name'?" in said
    assert "unknown key 'inner.deth': did you mean 'depth'?" in said


def test_a_bad_value_is_shown():
    with pytest.raises(ConfigError, match=r"inner\.depth: .*\(got 'deep'\)"):
        read_settings(Outer, {}, ["inner.depth=deep"])


@pytest.mark.parametrize("override", ["name", "=3", "name=[1"])
def test_an_override_that_is_none_is_refused(override):
    with pytest.raises(ConfigError, match="--set"):
        read_settings(Outer, {}, [override])


def test_numbers_in_scientific_notation_are_numbers():
    plan = read_settings(TrainingPlan, {}, ["stage_two.domain=d", "stage_two.learning_rate=1e-3"])
    assert plan.stage_two.learning_rate == pytest.approx(1e-3)


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.yaml")))
def test_the_shipped_recipes_are_whole(name):
    assert set(load_recipe(name).stages) == {"stage-one", "stage-two"}


def test_the_papers_recipe_has_the_papers_numbers():
    objective = load_recipe("paper").objective
    assert (objective.alpha, objective.beta, objective.temperature) == (0.125, 0.025, 0.5)


@pytest.mark.parametrize(
    ("text", "said"), [("- a list", "must be a mapping"), ("a: [", "no YAML"), ("stage_tow: {}", "stage_two")]
)
def test_a_recipe_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_recipe(path)


def test_a_recipe_that_is_not_there_names_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"shipped by name are eight-gpus, one-24gb-gpu, .*two-cores"):
        load_recipe("nothing.yaml")
