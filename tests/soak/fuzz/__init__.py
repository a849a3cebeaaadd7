"""Inputs that nobody would write: only errors that say what is wrong, no crash, no hanging, no wrong answer in silence."""
