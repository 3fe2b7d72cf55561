"""Jobs: requests for images that are answered at once and run later (docs/jobs.md)."""
