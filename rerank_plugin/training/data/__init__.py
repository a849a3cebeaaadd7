"""
Training data: labelled pairs, their sources, and their checks.

Reading order: `pairs` (the type, and the file formats), `checks` (problems and statistics), `teacher` (scores of a better
model), `batches` (the order of training).
"""
