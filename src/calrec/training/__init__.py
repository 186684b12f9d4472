"""Fine-tuning in two stages."""
