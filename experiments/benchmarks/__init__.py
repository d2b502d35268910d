"""The benchmarks of benchmark.py, one file a subject."""
