"""The experiments that `reproduce` makes, by name: those of the paper, comparisons of methods, and studies."""
