"""Robots, one a file, with the task families that they are used in."""
