"""Latents that stay on the device from the first denoiser call of an image to its pixels."""
