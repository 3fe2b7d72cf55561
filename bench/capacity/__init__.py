"""Simulation of many nodes behind gateways, for `bench/simulate.py`."""
