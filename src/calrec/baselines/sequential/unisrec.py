"""UniSRec's way (Hou et al., 2022): items are what their texts say, so that new ones can be recommended, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calrec.baselines.sequential.method import SequentialBaseline
from calrec.baselines.sequential.settings import AttentionSettings
from calrec.baselines.sequential.vocabulary import Vocabulary
from calrec.data.store import Domain
from calrec.text.item_text import Attribute, ItemText, TextSettings

if TYPE_CHECKING:
    from calrec.baselines.sequential.networks import Network


class UniSRecSettings(AttentionSettings):
    """The better of two rates, by NDCG@10 on the validation users of Industrial_and_Scientific; one seed.

    Learning rate .0003 gave .0783, .001 .0740 (.0794 in batches of 128 sequences of any length). What is of this model
    alone was not searched.

    Attributes:
        backbone: whose frozen states are the items' vectors; anything that a recipe's ``model.backbone`` can be.
        text: attributes that make an item's text; None takes those by which the domain tells items apart.
        whitened: principal directions of the vectors that are kept, each scaled to variance 1.
        experts: linear maps that the adaptor mixes.
        temperature: of the cosines in the softmax.
    """

    learning_rate: float = Field(default=3e-4, gt=0)
    backbone: str = Field(default="smollm2-135m", min_length=1)
    text: TextSettings | None = None
    whitened: int = Field(default=256, ge=1)
    experts: int = Field(default=8, ge=1)
    temperature: float = Field(default=0.07, gt=0)


class UniSRec(SequentialBaseline[UniSRecSettings]):
    """Causal self-attention over frozen vectors of the items' texts, brought into its space by a mixture of experts.

    Without UniSRec's pre-training on other domains and without embeddings of ids.
    """

    name = "unisrec"
    settings_type = UniSRecSettings
    grid: ClassVar = {"dropout": (0.2, 0.5), "learning_rate": (3e-4, 1e-3)}
    unseen = True

    @property
    def described(self) -> dict[str, Any]:
        """Its settings, and the SHA-256 of the weights that read the texts: a folder may get others."""
        from calrec.model.backbones import locate

        return {**super().described, "backbone_weights": locate(self.settings.backbone).fingerprint}

    def network(self, domain: Domain, vocabulary: Vocabulary) -> Network:
        import torch

        from calrec.baselines.sequential.networks import TextCausal

        own = self.settings
        attributes = tuple(Attribute(name=name) for name in domain.manifest.text_attributes)
        text = own.text or TextSettings(attributes=attributes)
        vectors = whitened(text_vectors(domain, text, own.backbone), own.whitened)[vocabulary.columns]
        return TextCausal(
            torch.from_numpy(vectors),
            own.max_length,
            own.dim,
            own.layers,
            own.heads,
            own.dropout,
            own.experts,
            own.temperature,
        )


def text_vectors(domain: Domain, text: TextSettings, backbone: str) -> NDArray[np.float32]:
    """Mean last-layer states of a pretrained backbone over each item's text, at unit length: (I, T)."""
    from calrec.model.backbones import BackboneSettings, load_backbone
    from calrec.model.vectors import item_vectors
    from calrec.text.encode import LengthSettings, SequenceEncoder

    loaded = load_backbone(BackboneSettings(backbone=backbone))
    catalogue = domain.catalogue_with_texts(ItemText(text))
    encoder = SequenceEncoder(loaded.tokenizer, text, catalogue, LengthSettings())
    return item_vectors(loaded.lm, [encoder.item(column) for column in range(len(catalogue))])


def whitened(vectors: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The vectors in their ``size`` principal directions, or as many as there are, with mean 0 and variance 1 in each.

    States of a language model share a few directions in which nearly all of their variance lies; as they are, all
    cosines are near 1.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    real = spread > spread[0] * 1e-5
    scaled: NDArray[np.float32] = (left[:, real][:, :size] * np.sqrt(len(vectors))).astype(np.float32)
    return scaled
