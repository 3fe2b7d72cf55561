"""Description of the REST API as OpenAPI 3.1."""
