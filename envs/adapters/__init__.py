"""Users' environments behind the contract of TaskVectorEnv."""
