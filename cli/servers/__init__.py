"""The servers that the command starts: one in the foreground, or both as supervised child processes."""
