"""The protocols of rerank servers, one a module: each turns a request into `RankRequest`s, and a result into its answer."""
