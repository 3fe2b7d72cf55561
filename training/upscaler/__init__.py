"""The fit of the upscaler, which doubles the side of an image, to images that are drawn here."""
