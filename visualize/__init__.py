"""Pictures of what was measured, and of what a model sees."""
