"""
Hard negatives: what a first stage finds for a judged query and nobody judged relevant.

Reading order: `rules` (what is wanted), `guards` (what is likely to be relevant after all), `draw` (one query), `mine` (a
collection, into a file).
"""
