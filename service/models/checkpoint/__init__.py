"""Single-file checkpoints: what a file contains, its names of tensors, and the configurations that it lacks."""
