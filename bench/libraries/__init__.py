"""Other libraries beside tintype: environments, models, and one process per measurement."""
