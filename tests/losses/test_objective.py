"""The weighted sum: the paper's weights, and switches that turn terms off."""

import pytest
import torch
from pydantic import ValidationError

from calrec.losses import ObjectiveSettings, contrastive_terms, info_nce, objective

N, D = 4, 6


def vectors():
    return torch.randn(3, N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_papers_weights():
    user, given, target = vectors()
    settings = ObjectiveSettings()
    contrasts = contrastive_terms(settings, user, given, target, torch.eye(N, dtype=torch.bool))
    assert set(contrasts) == {"tt", "ut"}
    loss = objective(settings, {"nig": torch.tensor(2.0), **contrasts})
    expected = 0.85 * 2.0 + 0.125 * info_nce(target, given, 0.5) + 0.025 * info_nce(target, user, 0.5)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"alpha": 0}, {"nig", "ut"}),
        ({"beta": 0}, {"nig", "tt"}),
        ({"alpha": 0, "beta": 0}, {"nig"}),
        ({"next_item": False}, {"tt", "ut"}),
        ({"next_item": "none"}, {"tt", "ut"}),
        ({"next_item": True}, {"nig", "tt", "ut"}),
        ({"next_item": "catalogue"}, {"catalogue", "tt", "ut"}),
        ({"next_item": "catalogue", "free_share": 0.5}, {"nig", "catalogue", "tt", "ut"}),
        ({"item_weight": 0.1}, {"nig", "tt", "ut", "item"}),
    ],
)
def test_any_term_can_be_switched_off(settings, names):
    of = ObjectiveSettings(**settings)
    assert set(of.weights) == names
    assert set(contrastive_terms(of, *vectors(), torch.eye(N) > 0)) == names & {"tt", "ut"}
    assert of.contrasts == bool(names & {"tt", "ut"})


def test_duplicates_of_a_target_are_no_negatives_of_each_other():
    user, given, target = vectors()
    target[1] = target[0]
    same = torch.eye(N, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    settings = ObjectiveSettings(alpha=1, beta=0)
    masked = contrastive_terms(settings, user, given, target, same)["tt"]
    torch.testing.assert_close(masked, info_nce(target, given, 0.5, same))
    assert masked < info_nce(target, given, 0.5)


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 0.9, "beta": 0.2},
        {"next_item": False, "alpha": 0, "beta": 0},
        {"temperature": 0},
        {"free_share": 0.5},
        {"next_item": ["free"]},
    ],
)
def test_weights_that_make_no_objective_are_refused(settings):
    with pytest.raises(ValidationError):
        ObjectiveSettings(**settings)
