"""Backtests, metrics and pictures. Knows the `Forecaster` interface, never a model."""
