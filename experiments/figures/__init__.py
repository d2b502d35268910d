"""Evaluated runs, read from disk, in tables and figures."""
