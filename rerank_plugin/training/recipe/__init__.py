"""What a training run is asked for: `config` (the hyperparameters, and the presets) and `request` (data, recipe, measurements)."""
