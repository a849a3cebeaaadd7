"""What a training run is asked for: `config` (hyperparameters and presets) and `request` (data, recipe, measurements)."""
