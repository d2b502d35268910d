"""What is around one meta-iteration: configuration, loop, logs, checkpoints, evaluation."""
