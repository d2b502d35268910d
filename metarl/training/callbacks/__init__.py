"""Callbacks of the training loop, one a file; `callback` has their base."""
