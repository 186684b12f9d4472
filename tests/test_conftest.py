"""The fixtures that the other tests stand on."""


def test_the_tiny_model_and_tokenizer_belong_together(tiny_lm, byte_tokens, backbone):
    assert tiny_lm.config.vocab_size == len(byte_tokens) == len(backbone.tokenizer)


def test_the_tiny_domain_can_be_split(tiny_domain):
    assert len(tiny_domain.split("test")) == len(tiny_domain.split("valid")) == len(tiny_domain.split("train")) == 12
    assert len(tiny_domain.catalogue) == 9
