"""A training run on disk: its checkpoint, result and log."""
