"""Synthetic training images and captions, drawn from a seed. Needs numpy and Pillow only."""
