"""Recurrent cells: pure steps, and the layers that hold their weights."""
