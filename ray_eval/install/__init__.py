"""Environments beside the evaluator's own, for what pins other versions than it does; imports no other part."""
