"""Denoisers of newer models and the language models that they read, as components."""
