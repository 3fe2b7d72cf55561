"""Published adapters (LoRA, LoHa, LoKr, DoRA): fuse them into weights, or write them in the service's own layout."""
