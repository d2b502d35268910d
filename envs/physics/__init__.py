"""Physics engines: their protocol, and one file for each engine."""
