"""`rerank serve`: the second stage, and searches of an index, over HTTP, in the words of the clients that exist."""
