"""The graphs that an export writes: how each module is called, and the axes of its inputs and outputs."""
