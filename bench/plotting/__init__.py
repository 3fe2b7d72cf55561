"""Plots and tables of the results in bench/results."""
