"""
The cross-encoder without Haystack: find a model, tokenise, cut windows, plan batches, run a backend, hand back logits.

Reading order: `second_stage` (a call with its cache and limits), `scorer` (the way from texts to logits), `requests`,
`tokens`, `windows`, `batching`; then how a model gets there: `models`, `source`, `fingerprint`, `conversions`, `backends`;
then what judged data adds: `calibration`, `fusion`, `depth`; and `early_exit`, `score_cache` and `score_shelves`,
`activation`.
"""
