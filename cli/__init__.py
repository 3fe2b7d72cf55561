"""The one command, `tintype`."""
