"""Random pipelines, made offline in seconds: for tests, benchmarks and a first try of the export. See `pipelines`."""
