"""Who may ask for what: keys, admission, bounds and model names."""
