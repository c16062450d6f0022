"""Trained models: opened from a run, a published file, an ONNX file or a symbol, and written for other people."""
