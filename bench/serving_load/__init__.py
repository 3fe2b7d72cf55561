"""Open-loop load on a real server, cancellation, and two gateways in front of instant services."""
