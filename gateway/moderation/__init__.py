"""Moderation: prompts and images are checked by an external service, and refused if it flags them."""
