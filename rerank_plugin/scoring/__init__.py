"""
The cross-encoder without Haystack: find a model, tokenise, cut windows, plan batches, run a backend, return logits.

Reading order: `second_stage` (one call: cached scores, and candidates that need no score), `scorer` (texts to logits),
`types`, `reading` (texts to pairs), `tokens`, `framing`, `windows`, `batching`; `limits` and `turns` (how long a call may
take, and which call is next); `cache` and `score_stores`; loading a model: `loading`, `backends`, `early_exit`; parts fitted
on judged data: `calibration`, `fusion`, `depth`; and `forking` (what must not cross a fork).
"""
