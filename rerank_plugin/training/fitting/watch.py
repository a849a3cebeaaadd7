"""What happens between the steps of a run: the progress bar moves, and a run with a limit stops."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class Watch(TrainerCallback):
    """
    Reports progress, and stops at a step, with a checkpoint.

    :param stop_after: The step; `None`: the last one.
    :param progress: Called with steps done and steps in all.
    """

    def __init__(self, *, stop_after: int | None, progress: Callable[[int, int], None] | None) -> None:
        self._stop_after = stop_after
        self._progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002 - the trainer's signature
        """Called by the trainer."""
        if self._progress is not None and state.is_world_process_zero:
            self._progress(state.global_step, self._stop_after or state.max_steps)
        if self._stop_after is not None and state.global_step >= self._stop_after:
            control.should_training_stop = control.should_save = control.should_log = True
        return control
