"""
Fine-tune a cross-encoder: labelled pairs in, a model folder with its card out.

Reading order: `data` (what goes in), `negatives` (pairs out of a judged collection), `train`, `model_card`.
"""
