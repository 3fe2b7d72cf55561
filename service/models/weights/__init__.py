"""Published weights: files of tensors, the names under which components find them, and their number formats."""
