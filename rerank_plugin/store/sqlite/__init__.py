"""The source-of-truth database of an index: one SQLite file."""
