"""The sections of bench/gpu.py, and what they share. Each section runs in a process of its own."""
