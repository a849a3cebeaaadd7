"""
Hard negatives: passages that a first stage finds for a judged query and that nobody judged relevant.

Reading order: `rules` (how many, and from where), `guards` (passages that are likely to be relevant after all), `draw` (the
negatives of one query), `first_stage` (what is searched with), `mine` (a whole collection, into a file), `state` (how an
interrupted run goes on).
"""
