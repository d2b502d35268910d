"""Supervised learning as a problem: tasks of a dataset, examples, a network (Finn et al. 2017, algorithm 2)."""
