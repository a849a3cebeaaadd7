"""Test collections (documents, queries, relevance judgements) and runs in BEIR, JSONL and TREC formats."""
