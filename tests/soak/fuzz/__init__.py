"""Fuzzed inputs: only clear errors; no crash, no hang, no silently wrong result."""
