"""
Hard negatives: passages that a first stage retrieves for a judged query but that are not judged relevant.

Reading order: `rules` (how many, and from where), `guards` (against likely false negatives), `draw` (the negatives of one
query), `first_stage` (the search), `mine` (a whole collection, into a file), `state` (resuming an interrupted run).
"""
