"""Prompts to conditionings: tokenizers, prompt weights and text encoders."""
