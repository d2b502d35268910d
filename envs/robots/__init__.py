"""Robots, one a file, with their task families."""
