"""How much work a call may save, as one choice."""

# For each effort the share of the full result (all candidates scored with all layers) that is kept, mean of the queries that
# the calibration was fitted on; `None`: everything is scored.
EFFORTS: dict[str, float | None] = {"exact": None, "balanced": 0.95, "fast": 0.85}
