"""The decoder in two parts is the decoder."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from calrec.errors import ConfigError, ModelError
from calrec.model.layers import KEEP_APART, decoder_of, keeps_texts_apart, split_decoder, train_top_layers


def test_trunk_and_top_give_what_the_whole_gives(tiny_lm):
    ids = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))
    decoder = decoder_of(tiny_lm)
    trunk, top = split_decoder(decoder, 1)
    states = top(inputs_embeds=trunk(input_ids=ids, use_cache=False).last_hidden_state, use_cache=False)
    torch.testing.assert_close(states.last_hidden_state, decoder(input_ids=ids).last_hidden_state)
    assert len(decoder.layers) == 2
    assert decoder.config.num_hidden_layers == 2


@pytest.mark.parametrize("top_layers", [1, 2, 3])
def test_every_family_can_be_cut_anywhere(family_lm, top_layers):
    ids = torch.randint(0, 256, (2, 15), generator=torch.Generator().manual_seed(0))
    decoder = decoder_of(family_lm)
    trunk, top = split_decoder(decoder, top_layers)
    states = top(inputs_embeds=trunk(input_ids=ids, use_cache=False).last_hidden_state, use_cache=False)
    whole = decoder(input_ids=ids, use_cache=False).last_hidden_state
    torch.testing.assert_close(states.last_hidden_state, whole, rtol=0, atol=1e-12)


def test_only_the_top_is_trained_and_a_tied_head_is_not(tiny_lm):
    train_top_layers(tiny_lm, 1)
    trained = {name for name, p in tiny_lm.named_parameters() if p.requires_grad}
    assert all(name.startswith(("model.layers.1.", "model.norm.")) for name in trained)
    assert "model.norm.weight" in trained


@pytest.mark.parametrize("layers", [0, 3])
def test_a_number_of_layers_that_there_is_not_is_refused(tiny_lm, layers):
    with pytest.raises(ConfigError, match="the backbone has 2 layers"):
        train_top_layers(tiny_lm, layers)


def test_a_model_that_is_no_stack_of_layers_is_refused():
    with pytest.raises(ModelError, match="no plain stack"):
        decoder_of(torch.nn.Linear(2, 2))


def test_changed_logits_are_refused(tiny_lm):
    tiny_lm.config.final_logit_softcapping = 30.0
    with pytest.raises(ModelError, match="final_logit_softcapping"):
        decoder_of(tiny_lm)


@pytest.mark.parametrize("family", sorted(KEEP_APART))
def test_a_family_that_may_share_rows_keeps_texts_apart(family):
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 32, "pad_token_id": 0}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **shape, **heads, bos_token_id=1, eos_token_id=2)
    lm = AutoModelForCausalLM.from_config(config).double().eval()
    assert keeps_texts_apart(lm)
    one, other = torch.randint(3, 32, (1, 7)), torch.randint(3, 32, (1, 5))
    positions = torch.tensor([[*range(7), *range(5)]])
    with torch.no_grad():
        together = decoder_of(lm)(torch.cat([one, other], 1), position_ids=positions, use_cache=False).last_hidden_state
        alone = [decoder_of(lm)(text, use_cache=False).last_hidden_state for text in (one, other)]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=1e-6, atol=1e-6)
