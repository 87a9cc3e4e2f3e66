"""Whole sequences at once: loops compiled for the processor, with gradients written by hand."""
