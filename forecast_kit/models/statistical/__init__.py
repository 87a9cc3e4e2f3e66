"""Models of each series that statsmodels estimates; the only package that imports statsmodels."""
