"""Frames become panels, panels become windows: validation, time axes, scaling, bundled data sets."""
