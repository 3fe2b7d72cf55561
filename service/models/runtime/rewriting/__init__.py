"""Graphs rewritten when they are loaded, as their provider computes them best."""
