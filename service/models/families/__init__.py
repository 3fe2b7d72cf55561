"""Families of models, one row each: their components, how these are put together, and their defaults."""
