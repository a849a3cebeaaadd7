"""
The cross-encoder without Haystack: find a model, tokenise, cut windows, plan batches, run a backend, return logits.

Reading order: `second_stage` (one call: cached scores, and candidates that need no score), `scorer` (texts to logits),
`types`, `reading` (texts to pairs), `tokens`, `framing`, `windows`; `scheduler` and `work` (one queue of batches for all
calls), `batching`, `limits` (how long a call may take); `cache` and `score_stores`; loading a model: `loading`, `backends`,
`early_exit`; parts fitted on judged data: `calibration`, `fusion`, `depth`; and `forking` (what must not cross a fork).
"""
