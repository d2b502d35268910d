"""Policies, one a file, their options beside them. A new one is one file here."""

from metarl.parts import Registry
from metarl.rl.policies.own_module import adopted
from metarl.rl.policies.policy import Policy

POLICIES = Registry[Policy]("policy", "metarl.rl.policies", adopt=adopted, base=Policy)
