"""
Fine-tune a cross-encoder: labelled pairs in, a model folder with its card out.

Reading order: `request` and `config` (what is asked for), `run` (what happens), then its parts: `data`, `checks`, `mining`,
`teacher` (what goes in); `losses`, `load`, `train` (training), with `packed_encoder`, `packed_pass`, `packed_layer` and
`dropout` (speed on a CPU); `dev`, `figures`, `model_card` (what comes out).
"""
