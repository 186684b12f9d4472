"""What each part of the method is worth: the recipe without it, under one protocol."""

from calrec.ablation.running import ablate
from calrec.ablation.variants import VARIANTS, Variant, named, variants_of

__all__ = ["VARIANTS", "Variant", "ablate", "named", "variants_of"]
