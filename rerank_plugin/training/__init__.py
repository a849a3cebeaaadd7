"""
Fine-tune a cross-encoder: labelled pairs in, a model folder with its card out.

`run` is the whole way: gather the pairs (`data`, `mining`), check them, ask a teacher, train (`fitting`, on a CPU with
`cpu`), save, measure, write the card (`output`). `recipe` is what a run is asked for.
"""
