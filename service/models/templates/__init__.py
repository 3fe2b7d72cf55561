"""Templates: graphs of published architectures without weights, and how published weights fill them."""
