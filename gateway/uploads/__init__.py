"""Images that clients upload or name by URL, and previews."""
