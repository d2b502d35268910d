"""Environments that others wrote, behind the contract of TaskVectorEnv."""
