"""How systems of this kind are usually written: ``generate(num_return_sequences=n)``, then ``rank_bm25``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi

from calrec.generation import Prompt, SamplingSettings
from calrec.retrieval import quasi_round_robin
from calrec.retrieval.bm25.vocabulary import words
from generation_cases.setup import Served


@dataclass(frozen=True)
class Written:
    """A user's samples: distinct texts with their log-probabilities, and of all samples the mean length."""

    texts: tuple[str, ...]
    log_probs: tuple[float, ...]
    mean_tokens: float


class UsualWay:
    """Samples and grounding of one user after the other.

    Args:
        served: the model and its catalogue.
        sampling: how many samples, and how long.
    """

    def __init__(self, served: Served, sampling: SamplingSettings) -> None:
        self._served, self._sampling = served, sampling
        self._bm25 = BM25Okapi([words(text) for text in served.catalogue.texts])

    def sample(self, prompt: Prompt) -> Written:
        """transformers' own sampling, with the scores that log-probabilities are taken from."""
        lm, end = self._served.lm, self._served.encoder.end_id
        ids = torch.tensor([prompt.token_ids], device=lm.device)
        with torch.inference_mode():
            output = lm.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                num_return_sequences=self._sampling.n,
                temperature=self._sampling.temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=self._sampling.max_new_tokens,
                eos_token_id=end,
                pad_token_id=end,
                output_scores=True,
                return_dict_in_generate=True,
            )
            gains = lm.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
        new = output.sequences[:, ids.shape[1] :].tolist()
        lengths = [tokens.index(end) + 1 if end in tokens else len(tokens) for tokens in new]
        samples = [tokens[:length] for tokens, length in zip(new, lengths, strict=True)]
        log_probs = [float(row[:length].double().sum()) for row, length in zip(gains, lengths, strict=True)]
        distinct = dict(zip(self._served.texts(samples), log_probs, strict=True))
        return Written(tuple(distinct), tuple(distinct.values()), float(np.mean(lengths)))

    def grounded(self, written: Written) -> NDArray[np.float64]:
        """Scores of the catalogue: BM25 of every distinct sample, joined as in the paper."""
        scores = np.stack([self._bm25.get_scores(words(text)) for text in written.texts])
        return quasi_round_robin(scores, written.log_probs)

    def __call__(self, prompts: Sequence[Prompt]) -> list[NDArray[np.float64]]:
        return [self.grounded(self.sample(prompt)) for prompt in prompts]
