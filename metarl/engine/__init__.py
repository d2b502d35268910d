"""The meta-gradient engine: torch only, knows neither supervised nor reinforcement learning."""
