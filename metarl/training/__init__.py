"""Everything around a meta-iteration: configuration, loop, logs, checkpoints, evaluation."""
