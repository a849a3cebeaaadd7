"""The trainer callback: it reports progress, seals checkpoints, and stops a run at a given step."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from rerank_plugin.progress import CountCallback
from rerank_plugin.training.fitting.checkpoints import PREFIX, seal


class StepCallback(TrainerCallback):
    """
    Reports progress, seals each checkpoint, and stops at a given step, with a checkpoint.

    :param checkpoints: The folder of the checkpoints.
    :param stop_after: The last step; `None`: that of the schedule.
    :param is_over: Stop after the first step and discard it: the run had already stopped early, and only the best checkpoint
        is loaded again.
    :param on_progress: Called with steps done and total steps.
    """

    def __init__(
        self, checkpoints: Path, *, stop_after: int | None, is_over: bool, on_progress: CountCallback | None
    ) -> None:
        self._checkpoints = checkpoints
        self._stop_after = stop_after
        self._is_over = is_over
        self._on_progress = on_progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002 - the trainer's signature
        """Called by the trainer after each step."""
        if self._on_progress is not None and state.is_world_process_zero:
            self._on_progress(state.global_step, self._stop_after or state.max_steps)
        if self._is_over:
            control.should_training_stop = True
            control.should_save = control.should_log = control.should_evaluate = False
        elif self._stop_after is not None and state.global_step >= self._stop_after:
            control.should_training_stop = control.should_save = control.should_log = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002 - the trainer's signature
        """Called by the trainer after it has written a checkpoint."""
        import torch.distributed

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()  # each process writes its own file into the checkpoint
        if state.is_world_process_zero:
            seal(self._checkpoints / f"{PREFIX}{state.global_step}")
        return control
