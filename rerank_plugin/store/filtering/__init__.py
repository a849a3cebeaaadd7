"""Haystack's metadata filters, translated to SQL."""
