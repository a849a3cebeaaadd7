"""Keyword search: text analysis, two BM25 engines, and the queries that both understand."""
