"""Model folders on disk: manifest, configurations and presets, read without loading a model."""
