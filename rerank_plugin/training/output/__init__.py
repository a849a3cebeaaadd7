"""From trained weights to a model folder: `save`, `fit_early_exit` (an optional head), `measure` (its gain), `card`."""
