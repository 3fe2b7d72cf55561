"""Pictures as files: pixels to PNG, JPEG and WebP and back, and what is written into them."""
