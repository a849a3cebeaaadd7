"""From trained weights to a model folder: `save`, `fit_early_exit` (for a first look), `measure` (its gain), `card`."""
