"""What the model writes: samples that are exact and cheap."""

from calrec.generation.draws import Draw, Prompt
from calrec.generation.sampling import SamplingSettings, sample

__all__ = ["Draw", "Prompt", "SamplingSettings", "sample"]
