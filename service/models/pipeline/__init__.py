"""From conditioning to pixels: denoiser, VAE and adapters, put together as the family says."""
