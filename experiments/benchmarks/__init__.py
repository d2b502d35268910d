"""What benchmark.py measures, one file a subject."""
