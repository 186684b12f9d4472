"""That no addition rounds: sums in float64 against exact arithmetic, in any order."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calrec.retrieval.dense.inner_products import in_steps


@given(st.integers(0, 2**32), st.integers(1, 300), st.floats(0, 3))
def test_a_product_with_float16_is_exact(seed, width, sharpness):
    rng = np.random.default_rng(seed)
    # From even to very uneven: the smallest coordinates are subnormal in float16.
    vectors = rng.standard_normal((4, width)) * np.exp(sharpness * rng.standard_normal((4, width)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    half, query = vectors[1:].astype(np.float16), in_steps(vectors[:1])[0]
    assert np.abs(query - vectors[0]).max() <= 2.0**-29
    sums = half.astype(np.float64) @ query
    for vector, total in zip(half.tolist(), sums.tolist(), strict=True):
        assert Fraction(total) == sum(Fraction(a) * Fraction(b) for a, b in zip(vector, query.tolist(), strict=True))
    turned = rng.permutation(width)
    assert (half[:, turned].astype(np.float64) @ query[turned] == sums).all()
