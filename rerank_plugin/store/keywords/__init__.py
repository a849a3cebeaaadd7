"""Keyword search: the analysis of texts, two engines, and what a query means to both."""
