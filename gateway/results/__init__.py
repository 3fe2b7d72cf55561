"""Results by link, and the stores that keep them."""
