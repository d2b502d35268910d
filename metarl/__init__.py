"""metarl: meta-training with MAML. `engine` is the heart; `rl` the problem; `training` what is around an iteration."""
