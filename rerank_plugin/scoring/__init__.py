"""
The cross-encoder without Haystack: find a model, tokenise, cut windows, plan batches, run a backend, hand back logits.

Reading order: `second_stage` (a call: what the cache knows, what need not be scored), `scorer` (from texts to logits),
`types`, `reading` (texts to pairs), `tokens`, `windows`, `batching`; `limits` and `turns` (how long a call may take, and
who is next); `cache` and `score_stores`; then how a model gets there: `loading`, `backends`, `early_exit`; what judged
data adds: `calibration`, `fusion`, `depth`; and `forking` (what must not cross a fork).
"""
