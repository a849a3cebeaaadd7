"""
Loading a model, in steps: each takes what the previous one returned.

`ModelSpec` -> `locate` (folder and fingerprint) -> `load_in_torch`, or `open_converted`, which calls it if there is no
converted copy yet (weights and tokenizer) -> a backend.

`kinds` refuses what is no reranker, `pair_inputs` finds out how a reranker reads a pair, and checks it against the model.
"""
