"""Presets, which are what `train PRESET` starts from, and what the authors of the paper published."""
