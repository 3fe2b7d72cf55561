"""Model folders on disk: manifest, configurations, families and presets, read without loading a model."""
