"""
Search as a tool of a language model: passages with numbered citations, filters that the index has, documents by id.

`search_tool` and `fetch_tool` are for Haystack's `Agent`; `rerank mcp` offers the same to other agents.
"""
