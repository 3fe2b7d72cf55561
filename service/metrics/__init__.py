"""What a service reports of its work: an observer of the engine, its measurements, and their export to Prometheus."""
