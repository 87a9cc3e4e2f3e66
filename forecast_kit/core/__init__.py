"""What every forecaster is, what it returns, and how time is split."""
