"""How much memory a pass takes, known before it runs, so that a limit is kept by parting the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from calrec.errors import ConfigError
from calrec.generation.attention import ALIGNED
from calrec.generation.draws import Prompt, rows_at_once

# Arrays that live at once for each token: of the hidden width and of the feed-forward's, all of one layer.
_HIDDEN, _INTERMEDIATE = 12, 3
# Arrays in float32 that live at once for each distribution: logits, the allowed ones, masses, and these in blocks.
_OF_LOGITS = 4


@dataclass(frozen=True)
class Footprint:
    """Bytes of what a model's passes leave and take; its weights are not counted.

    Attributes:
        column: keys and values of one token, in all layers.
        cell: one node's attention to one column. pair: what of a prompt one of its tokens sees, in a sliding window.
        token: activations of one token in a pass.
        logits: of one node over the whole vocabulary.
        drawn: what is computed of them, for at most ``rows`` nodes of all users at once.
    """

    column: int
    cell: int
    pair: int
    token: int
    logits: int
    drawn: int
    rows: int

    @classmethod
    def of(cls, lm: PreTrainedModel) -> Footprint:
        """From the model's configuration and precision."""
        config: Any = lm.config.get_text_config()
        size, heads = lm.dtype.itemsize, config.num_attention_heads
        groups = getattr(config, "num_key_value_heads", None) or heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        # A quarter more: keys and values grow ahead of what is needed.
        column = 2 * config.num_hidden_layers * groups * head_size * size * 5 // 4
        token = (_HIDDEN * config.hidden_size + _INTERMEDIATE * config.intermediate_size) * size
        vocabulary = config.vocab_size
        return cls(
            column=column,
            cell=heads * (1 + size) + 2,
            pair=1 + size,
            token=token,
            logits=vocabulary * size,
            drawn=vocabulary * (size + _OF_LOGITS * 4),
            rows=rows_at_once(lm.device),
        )

    def peak(self, prompt: int, columns: int, nodes: int, users: int = 1) -> int:
        """Bytes of users with ``prompt`` tokens and then at most ``columns`` more, ``nodes`` of them in one pass.

        They are those of the prompts' pass or of the last, whichever takes more.
        """
        kept = -(-(prompt + columns) // ALIGNED) * ALIGNED
        of_prompt = users * (prompt * (prompt * self.pair + self.token) + self.logits) + self._drawn(users)
        of_nodes = users * nodes * (kept * self.cell + self.token + self.logits) + self._drawn(users * nodes)
        return users * kept * self.column + max(of_prompt, of_nodes)

    def _drawn(self, nodes: int) -> int:
        return min(nodes, self.rows) * self.drawn


def nodes_at_once(lm: PreTrainedModel, prompts: Sequence[Prompt], memory_gb: float, columns: int, most: int) -> int:
    """How many nodes of a user, 1 to ``most``, a pass may have, so that even the longest prompt's user fits.

    Args:
        lm: the model.
        prompts: the users.
        memory_gb: 10^9 bytes that may be taken beside the model's weights.
        columns: tokens of each user that are kept at most, beyond the prompt and the nodes of the pass.
        most: beyond which more would not be faster.
    """
    footprint = Footprint.of(lm)
    longest = max((len(prompt.token_ids) for prompt in prompts), default=0)
    fitting = (
        nodes for nodes in range(most, 1, -1) if footprint.peak(longest, columns + nodes, nodes) <= memory_gb * 1e9
    )
    return next(fitting, 1)


def user_batches(
    lm: PreTrainedModel, prompts: Sequence[Prompt], most: int, memory_gb: float, columns: int, nodes: int
) -> list[list[int]]:
    """Part the users, the longest prompts first, into batches whose keys, values, masks and logits fit.

    If memory is short for one user, that shows at once, before anything is computed.

    Args:
        lm: the model.
        prompts: the users.
        most: users in a batch, however much memory there is.
        memory_gb: 10^9 bytes that a batch may take beside the model's weights.
        columns: tokens of each user that are kept at most, beyond the prompt.
        nodes: tokens of each user in one pass at most, beyond the prompt.

    Returns:
        Places in ``prompts``.

    Raises:
        ConfigError: a single user needs more memory.
    """
    footprint, limit = Footprint.of(lm), memory_gb * 1e9
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place].token_ids))
    batches: list[list[int]] = []
    while order:
        longest = prompts[order[0]]
        needed = partial(footprint.peak, len(longest.token_ids), columns, nodes)
        users = next((users for users in range(min(most, len(order)), 0, -1) if needed(users) <= limit), 0)
        if not users:
            raise ConfigError(
                f"memory_gb = {memory_gb:g} is too little for user {longest.key!r}, whose prompt has "
                f"{len(longest.token_ids)} tokens: set at least {needed(1) / 1e9:.2g}, or keep fewer items of the "
                "history"
            )
        batches.append(order[:users])
        order = order[users:]
    return batches
