"""What the model writes: samples that are exact and cheap."""

from calrec.generation.beam import ScoredItem, beam_search
from calrec.generation.catalogue import catalogue_beam, catalogue_log_probs
from calrec.generation.draws import Draw, Prompt
from calrec.generation.likelihood import score_items
from calrec.generation.sampling import sample
from calrec.generation.settings import SamplingSettings
from calrec.text.trie import ItemTrie

__all__ = [
    "Draw",
    "ItemTrie",
    "Prompt",
    "SamplingSettings",
    "ScoredItem",
    "beam_search",
    "catalogue_beam",
    "catalogue_log_probs",
    "sample",
    "score_items",
]
