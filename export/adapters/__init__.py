"""Published adapters (LoRA, LoHa, LoKr, DoRA): read a file, find its layers, convert or fuse it."""
