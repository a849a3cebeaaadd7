"""The request of a training run: `config` (hyperparameters, presets) and `request` (data, recipe, evaluation)."""
