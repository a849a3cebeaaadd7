"""Collections of documents, queries and judgements in the formats of the field: BEIR, JSONL, TREC."""
