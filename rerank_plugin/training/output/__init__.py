"""From trained weights to a model folder: `save`, `early_exit` (an optional head), `figures` (what it gains), `card`."""
