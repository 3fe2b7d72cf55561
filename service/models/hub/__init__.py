"""A client of the Hugging Face hub: it lists, chooses, downloads and caches the files that serving needs."""
