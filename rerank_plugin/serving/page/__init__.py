"""The search page of `rerank serve`: what a browser loads, and the endpoints that only the page calls."""
