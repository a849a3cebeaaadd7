"""
Fine-tune a cross-encoder: labelled pairs in, a model folder with its card out.

`run` does all steps: gather the pairs (`data`, `mining`), check them, score them with a teacher, train (`fitting`, on a CPU
with `cpu`), save, measure, write the card (`output`). `recipe` holds the request of a run.
"""
