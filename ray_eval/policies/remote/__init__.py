"""Policies that another server computes: one adapter per protocol, run in the policy actor."""
