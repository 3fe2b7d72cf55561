"""Adapters (LoRA): files as published or in our layout, the layers that they change, and a graph's inputs for them."""
