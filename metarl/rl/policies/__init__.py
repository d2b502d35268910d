"""Policies: one a file, its options beside it. A file here that registers a part is all that a new policy takes."""

from metarl.parts import Registry
from metarl.rl.policies.own_module import adopted
from metarl.rl.policies.policy import Policy

POLICIES = Registry[Policy]("policy", "metarl.rl.policies", adopt=adopted)
