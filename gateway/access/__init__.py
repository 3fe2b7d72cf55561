"""Access control: API keys, admission, limits of a request, model names."""
