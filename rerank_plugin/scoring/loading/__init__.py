"""
How a model gets into memory, in one line: each step takes what the one before it returned.

`ModelSpec` -> `locate` (folder and fingerprint) -> `load_in_torch`, or `open_converted` which calls it where no converted
copy exists yet (weights and tokenizer) -> a backend.
"""
