"""Handling of requests for images: parsing, generation, streaming, idempotency."""
