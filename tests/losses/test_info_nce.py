"""InfoNCE against cases whose answer is known in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calrec.losses import info_nce


@given(n=st.integers(1, 20), temperature=st.floats(0.05, 5))
def test_uniform_similarities_give_log_n(n, temperature):
    anchors = torch.ones(n, 4, dtype=torch.float64)
    assert info_nce(anchors, anchors * 3, temperature).item() == pytest.approx(math.log(n), abs=1e-9)


def test_orthogonal_pairs_give_the_closed_form():
    n, temperature = 5, 0.5
    eye = torch.eye(n, dtype=torch.float64)
    expected = math.log(1 + (n - 1) * math.exp(-1 / temperature))
    assert info_nce(eye, eye, temperature).item() == pytest.approx(expected)


def test_against_the_formula_written_out():
    generator = torch.Generator().manual_seed(0)
    anchors, candidates = torch.randn(2, 6, 8, generator=generator, dtype=torch.float64)
    total = 0.0
    for i in range(6):
        cosines = [torch.cosine_similarity(anchors[i], candidates[j], dim=0).item() / 0.5 for j in range(6)]
        total -= cosines[i] - math.log(sum(map(math.exp, cosines)))
    assert info_nce(anchors, candidates, 0.5).item() == pytest.approx(total / 6)


def test_masked_candidates_are_no_negatives_and_the_positive_always_stays():
    generator = torch.Generator().manual_seed(1)
    anchors, candidates = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    mask = torch.eye(3, dtype=torch.bool)
    mask[0, 1] = mask[1, 0] = True
    kept = info_nce(anchors[[0, 2]], candidates[[0, 2]], 0.5)
    first = info_nce(anchors, candidates, 0.5, mask)
    rows = torch.stack([info_nce(anchors[[i, j]], candidates[[i, j]], 0.5) for i, j in ((0, 2), (1, 2))])
    assert torch.isfinite(first)
    assert info_nce(anchors, candidates, 0.5, torch.ones(3, 3, dtype=torch.bool)).item() == pytest.approx(0)
    assert kept.item() == pytest.approx(rows[0].item())


def test_scale_of_the_vectors_does_not_count():
    generator = torch.Generator().manual_seed(2)
    anchors, candidates = torch.randn(2, 4, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(info_nce(anchors, candidates, 0.5), info_nce(anchors * 7, candidates / 3, 0.5))


@pytest.mark.parametrize(("shape", "temperature"), [((3, 5), 0.5), ((4, 4), 0.0), ((4, 4), -1.0)])
def test_what_does_not_fit_is_refused(shape, temperature):
    with pytest.raises(ValueError):
        info_nce(torch.ones(4, 4), torch.ones(shape), temperature)
