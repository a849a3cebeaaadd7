"""
Adapting a reranker to a corpus without judgements: `rerank adapt`.

Reading order: `request`, `corpus` (pipeline and passages), `pseudo_queries` (also `language_model`), `lists` (candidates), `opinions`
(soft targets), `general` (what must not be forgotten), `verdict`, `card`, `run` (all of it, in order).
"""
