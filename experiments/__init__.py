"""What users launch: the only place that brings `metarl` and `envs` together."""
