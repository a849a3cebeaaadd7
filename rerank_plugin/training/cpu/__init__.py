"""
An encoder that trains faster on a CPU and computes the same function.

Reading order: `packed_encoder` (replaces the encoder), `packed_pass` (all layers, in threads), `packed_layer` (one layer,
forward and backward), `dropout`.
"""
