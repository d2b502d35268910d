"""Algorithm 2 of Finn et al. 2017: few-shot regression and classification."""
