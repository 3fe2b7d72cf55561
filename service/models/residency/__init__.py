"""Which models are in memory: the repository, the queue of loads, and the memory of components."""
