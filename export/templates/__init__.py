"""Templates: graphs of published architectures without weights, made from configurations alone; see `__main__`."""
