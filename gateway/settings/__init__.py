"""Settings of the gateway by subject; `config.GatewayConfig` has them all."""
