"""Callbacks of the training loop, one a file; `callback` has what they have in common."""
