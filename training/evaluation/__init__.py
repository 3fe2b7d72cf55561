"""Image generation with a packed model, its score, and its comparison with diffusers."""
