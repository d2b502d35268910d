"""How `reproduce` makes runs: the files that it stores of them, and the line that tells how far they are."""
