"""
Adapting a reranker to a corpus without judgements: `rerank adapt`.

Reading order: `request`, `corpus` (pipeline and passages), `pseudo_queries` and `language_model`, `material` (which queries
train, which measure), `lists` (candidates), `opinions` (soft targets), `taught` and `teaching` (how much, and what is kept),
`general` (what must not be forgotten), `measuring`, `verdict`, `card`, `run` (all of it, in order).
"""
