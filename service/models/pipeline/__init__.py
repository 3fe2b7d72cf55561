"""From conditioning to pixels: denoiser and VAE, put together as the family says."""
