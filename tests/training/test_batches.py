"""Batches keep the token budget, and their order is a pure function of the seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.errors import ConfigError
from calrec.training.batches import TokenBudgetBatches, drawn_per_epoch, length_grouped, pack
from calrec.training.config import SamplingRule

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(lengths=LENGTHS, budget=st.integers(64, 300))
def test_no_batch_exceeds_the_budget_and_none_is_lost(lengths, budget):
    order = np.random.default_rng(0).permutation(len(lengths))
    batches = length_grouped(order, np.asarray(lengths), budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[index] for index in batch) <= budget for batch in batches)


@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=60))
def test_texts_share_rows_without_touching(lengths):
    packed = pack(lengths)
    width = max(128, *lengths)
    for number, row in enumerate(packed.rows):
        ends = np.cumsum([lengths[text] for text in row])
        assert ends[-1] <= width
        assert packed.start[row].tolist() == [0, *ends[:-1]]
        assert set(packed.row[row]) == {number}
    assert sorted(text for row in packed.rows for text in row) == list(range(len(lengths)))
    # No two rows are half empty, or one of them would not have been begun.
    assert sum(2 * sum(lengths[text] for text in row) <= width for row in packed.rows) <= 1


def make(lengths, rule="size", epochs=2.0, token_budget=None, seed=0, domains=None):
    return TokenBudgetBatches(
        lengths, domains or [0] * len(lengths), SamplingRule(rule=rule), 100, epochs, token_budget, seed
    )


@given(lengths=LENGTHS, seed=st.integers(0, 9))
def test_the_order_is_a_pure_function_of_the_seed(lengths, seed):
    assert list(make(lengths, seed=seed)) == list(make(lengths, seed=seed))


def test_epochs_differ_and_each_sees_everything_once():
    batches = make([10] * 50)
    half = len(batches) // 2
    epochs = list(batches)[:half], list(batches)[half:]
    assert [batches.epochs_after(done) for done in (0, half, 2 * half)] == [0, 1, 2]
    assert epochs[0] != epochs[1]
    assert [sorted(i for batch in epoch for i in batch) for epoch in epochs] == [list(range(50))] * 2


def test_the_token_budget_ends_the_stage():
    batches = make([10] * 50, token_budget=250)
    assert 200 <= batches.tokens <= 250


def test_part_of_an_epoch():
    batches = make([10] * 50, epochs=1.5)
    assert batches.tokens == pytest.approx(750, abs=50)
    assert batches.epochs_after(len(batches)) == pytest.approx(1.5, abs=0.11)


@pytest.mark.parametrize(("rule", "drawn"), [("size", [90, 10]), ("uniform", [50, 50]), ("temperature", [75, 25])])
def test_domains_are_drawn_by_the_rule(rule, drawn):
    assert drawn_per_epoch([90, 10], SamplingRule(rule=rule, temperature=2)) == drawn
    batches = make([10] * 100, rule, epochs=1, domains=[0] * 90 + [1] * 10)
    counts = Counter(int(index >= 90) for batch in batches for index in batch)
    assert [counts[0], counts[1]] == drawn


@given(lengths=LENGTHS, processes=st.sampled_from([1, 2, 3]))
def test_processes_share_out_whole_updates(lengths, processes):
    batches = TokenBudgetBatches(lengths * 64, [0] * 64 * len(lengths), SamplingRule(), 64, 6, None, 0, 6)
    shares = [batches.share(process, processes) for process in range(processes)]
    assert {len(share) for share in shares} == {len(batches) // processes}
    each = 6 // processes
    for update in range(batches.updates):
        of_update = [batch for share in shares for batch in share[update * each : (update + 1) * each]]
        assert sorted(of_update) == sorted(list(batches)[update * 6 : (update + 1) * 6])


def test_a_stage_without_a_whole_update_says_so():
    with pytest.raises(ConfigError, match="accumulation = 50: lower it"):
        TokenBudgetBatches([10] * 10, [0] * 10, SamplingRule(), 100, 1, None, 0, accumulation=50)


def test_texts_of_the_catalogue_come_in_turn():
    batches = TokenBudgetBatches([10] * 50, [0] * 50, SamplingRule(), 100, 2, None, 0, texts=7, texts_each=3)
    added = [index - 50 for batch in batches.share(0, 1) for index in batch if index >= 50]
    assert len(added) == 3 * len(batches)
    assert [sorted(added[place : place + 7]) for place in (0, 7, 14)] == [list(range(7))] * 3
    assert max(index for batch in batches for index in batch) < 50
