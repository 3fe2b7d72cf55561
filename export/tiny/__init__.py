"""Small random pipelines for tests, benchmarks and a first try of the export; see `pipelines`."""
