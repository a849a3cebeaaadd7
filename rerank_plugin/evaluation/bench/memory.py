"""Peak memory of a call, measured in a separate process."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rerank_plugin.errors import RerankError
from rerank_plugin.evaluation.bench.material import Case, draw_call
from rerank_plugin.evaluation.bench.systems import load_system

SHORT = Case((16, 16), 2)


def peak_megabytes(system: str, model: str, case: Case, words: Sequence[str]) -> float | None:
    """
    Measure the highest memory during a call, above that of the loaded model after a first small call.

    :param system: See `load_system`.
    :param model: The cross-encoder.
    :param case: The call.
    :param words: Text that passages are cut from.
    :returns: Megabytes (10^6 bytes); `None` if the operating system does not report it (it is read from Linux' /proc).
    :raises RerankError: If the process failed.
    """
    task = json.dumps([system, model, case.candidates, *case.tokens, list(words[:20_000])])
    done = subprocess.run(
        [sys.executable, "-m", "rerank_plugin.evaluation.bench.memory"],
        input=task,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RerankError(f"measuring the memory of {system} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    peak: float | None = json.loads(done.stdout.strip().splitlines()[-1])
    return peak


def _megabytes(process: Path, line: str) -> float:
    status = (process / "status").read_text(encoding="utf-8")
    return int(next(row for row in status.splitlines() if row.startswith(line)).split()[1]) * 1024 / 1e6


def _measure(task: str) -> float | None:
    system, model, candidates, low, high, words = json.loads(task)
    rng = random.Random(13)  # noqa: S311 - no secret depends on it
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_system(system, model, candidates=candidates, folder=Path(folder))
        process = Path("/proc", str(loaded.process_id or os.getpid()))
        try:
            loaded.rank(*draw_call(SHORT, ["a first short query"], words, rng))
            if not process.is_dir():
                return None
            # Forget the peak of loading, which may be higher: proc_pid_clear_refs(5).
            (process / "clear_refs").write_text("5", encoding="ascii")
            before = _megabytes(process, "VmRSS")
            loaded.rank(*draw_call(Case((low, high), candidates), ["how much memory does a long call take"], words, rng))
            return _megabytes(process, "VmHWM") - before
        finally:
            loaded.close()


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(_measure(sys.stdin.read()))}\n")
