"""HTTP between uvicorn and the handlers: connections, bodies, headers, CORS and timeouts."""
