"""
From pairs to trained weights.

Reading order: `train` (the trainer), `load` (the base model), `losses`, `dev` (evaluation during training), `checkpoints`
(resuming an interrupted run), `processes` (several devices).
"""
