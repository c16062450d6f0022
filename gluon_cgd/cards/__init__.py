"""The card of a trained model: what it is, what it learned from, how good it is, which classes it confuses."""
