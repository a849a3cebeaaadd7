"""Measure what each stage of a pipeline is worth, on a collection with judgements."""
