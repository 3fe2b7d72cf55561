"""Usage per key: what each key's requests made and cost, by model and day, in the data folder."""
