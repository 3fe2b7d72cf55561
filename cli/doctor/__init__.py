"""`tintype doctor`: what was found on this machine, the settings in force, and what a model needs."""
