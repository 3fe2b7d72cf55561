"""The ControlNet extension of the web UI: its units in requests, and its own paths."""
