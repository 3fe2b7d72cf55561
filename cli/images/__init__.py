"""Image files of `tintype generate`: those that it sends, and those that it writes."""
