"""`tintype bench`: this machine's own figures, in a minute."""
