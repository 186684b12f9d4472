"""What all sequence models can be set to; each has its own defaults."""

from __future__ import annotations

from pydantic import Field, model_validator

from calrec.settings import Settings


class SequentialSettings(Settings):
    """Shape and training of a sequence model.

    Attributes:
        dim: of the items' embeddings and of the model's states.
        layers: of the model.
        dropout: in [0, 1).
        max_length: items of a history that the model sees, the newest.
        learning_rate: of AdamW, constant. weight_decay: of AdamW.
        batch_items: items of one update's sequences, about; sequences of similar length go together.
        epochs: passes over the training sequences at most.
        patience: passes without a better NDCG@10 on validation after which training ends.
        seed: of the initial weights, the order, and all that is drawn in training.
    """

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    max_length: int = Field(default=50, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_items: int = Field(default=512, ge=1)
    epochs: int = Field(default=200, ge=1)
    patience: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0)


class AttentionSettings(SequentialSettings):
    """Of a model with attention.

    Attributes:
        heads: of each layer's attention; they divide ``dim``.
    """

    heads: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> AttentionSettings:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads = {self.heads}")
        return self
