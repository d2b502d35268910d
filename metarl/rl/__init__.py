"""Algorithm 3 of Finn et al. 2017: reinforcement learning on the engine."""
