"""Images that clients send or name by URL."""
