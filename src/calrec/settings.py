"""The base of all settings: frozen pydantic models that refuse what they do not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Each room keeps its own subclass beside the code that it steers; a recipe is made of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
