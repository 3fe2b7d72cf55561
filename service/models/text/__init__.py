"""Prompts to conditionings: tokenizers, prompt weights, text encoders and embedding files."""
