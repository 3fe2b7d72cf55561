"""Image files: encoding of pixels, decoding of uploads, and metadata."""
