"""`tintype generate`: flags, prompts, requests, names of files, and the run that makes the images."""
