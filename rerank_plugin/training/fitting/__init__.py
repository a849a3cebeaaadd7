"""
From pairs to trained weights.

Reading order: `train` (the trainer), `load` (the model it starts from), `losses`, `dev` (what is measured on the way),
`checkpoints` (how an interrupted run goes on), `processes` (several devices).
"""
