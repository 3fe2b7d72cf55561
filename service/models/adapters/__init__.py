"""Adapters (LoRA): their files, the layers that they change, a graph's inputs for them; and embedding files."""
