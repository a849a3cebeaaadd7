"""
Training data: what a pair is, where pairs come from, and what is wrong with them.

Reading order: `pairs` (the form, and the files), `checks` (problems and statistics), `teacher` (scores of a better model),
`batches` (the order in which a trainer sees them).
"""
