"""
The cross-encoder without Haystack: find a model, tokenise pairs, plan batches, run a backend, hand back logits.

Reading order: `scorer` (the whole way of a call), `models`, `tokens`, `batching`, `backends`, `activation`.
"""
