"""What `study` and `compare` make of finished runs: learning curves in a small table, effects, and figures."""
