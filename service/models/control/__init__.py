"""ControlNets: where they are, and what they add to a denoiser's hidden states."""
