"""Forecasters: naive and statistical baselines, and recurrent networks."""
