"""What comes first in every mode: a model that is not training, prompts that it can continue, and their one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from calrec.errors import DataError, ModelError
from calrec.generation.draws import Prompt


@dataclass
class Prefilled:
    """B prompts in the model's cache.

    Attributes:
        cache: keys and values, B rows of L columns; prompts stand at the right end of their rows.
        logits: (B, V) for the token after each prompt.
        mask: (B, L) bool, True where a column holds a token of the prompt.
        lengths: (B,) tokens of each prompt.
    """

    cache: DynamicCache
    logits: Tensor
    mask: Tensor
    lengths: Tensor


def layer_kinds(lm: PreTrainedModel) -> Sequence[str]:
    """What each layer mixes tokens by, in transformers' words; none where the configuration does not say."""
    return getattr(lm.config.get_text_config(), "layer_types", None) or ()


def check_prompts(lm: PreTrainedModel, prompts: Sequence[Prompt], new_tokens: int) -> None:
    """Refuse prompts that the model cannot continue by ``new_tokens`` tokens.

    Raises:
        DataError: a prompt without tokens.
        ModelError: a prompt that leaves too little of the model's positions, or a model that does not attend alone.
    """
    carried = [kind for kind in layer_kinds(lm) if not kind.endswith("_attention") or kind == "linear_attention"]
    if carried or getattr(lm, "_is_stateful", False):
        what = carried[0] if carried else "recurrent"
        raise ModelError(
            f"{type(lm).__name__} carries states from token to token ({what} layers), which samples and beams cannot "
            "share: fine-tune a model that has attention alone"
        )
    positions = getattr(lm.config.get_text_config(), "max_position_embeddings", None)
    for prompt in prompts:
        if not prompt.token_ids:
            raise DataError(f"the prompt of user {prompt.key!r} has no tokens: give it a history or a prefix")
        needed = len(prompt.token_ids) + new_tokens
        if positions is not None and needed > positions:
            raise ModelError(
                f"the prompt of user {prompt.key!r} has {len(prompt.token_ids)} tokens, with {new_tokens} to generate "
                f"{needed - positions} more than the model's {positions} positions: keep fewer items of the history"
            )


def prefill(lm: PreTrainedModel, prompts: Sequence[Prompt]) -> Prefilled:
    """Run the prompts through the model in one batch."""
    width = max(len(prompt.token_ids) for prompt in prompts)
    rows = [[0] * (width - len(prompt.token_ids)) + list(prompt.token_ids) for prompt in prompts]
    ids = torch.tensor(rows, device=lm.device)
    lengths = torch.tensor([len(prompt.token_ids) for prompt in prompts], device=lm.device)
    positions = torch.arange(width, device=lm.device) - (width - lengths)[:, None]
    mask = positions >= 0
    output = lm(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=positions.clamp(min=0),
        past_key_values=DynamicCache(config=lm.config),
        use_cache=True,
        logits_to_keep=1,
    )
    return Prefilled(output.past_key_values, output.logits[:, -1], mask, lengths)
