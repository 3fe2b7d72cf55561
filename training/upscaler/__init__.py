"""The upscaler: a small network that doubles the side of an image, trained on images that are drawn here."""
