"""The error of a device that cannot hold or update latents."""


class NotResident(Exception):
    """A small graph can't be opened or computed on this device: latents must be on the host."""
