"""From the name of a model to what a backend runs: spec, folder and fingerprint, tokenizer, converted file."""
