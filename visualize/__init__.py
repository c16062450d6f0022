"""Scripts that draw what was measured and what a model sees."""
