"""Results by link: signed links, and the stores in a folder or a bucket."""
