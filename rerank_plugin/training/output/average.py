"""The average of two models with the same architecture, which often keeps the strengths of both."""

from pathlib import Path

from rerank_plugin.errors import ModelError
from rerank_plugin.training.output.save import WEIGHTS


def average_weights(first: Path, second: Path, *, share: float) -> None:
    """
    Average the weights of two models into the second one's file, in float16.

    Wortsman et al., "Robust fine-tuning of zero-shot models" (2022).

    :param first: Folder of a model.
    :param second: Folder of another one, trained from it; its weights are replaced.
    :param share: Weight of the second, 0 to 1.
    :raises ModelError: If they have not the same weights, or the first has none in one safetensors file.
    """
    import torch
    from safetensors.torch import load_file, save_file

    for folder in (first, second):
        if not (folder / WEIGHTS).is_file():
            raise ModelError(f"{folder} has no {WEIGHTS}: its weights cannot be averaged with those of another model")
    before, after = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    shapes = [{name: tuple(tensor.shape) for name, tensor in weights.items()} for weights in (before, after)]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"{first} and {second} do not have the same weights: only a model and its own start can be averaged"
        )
    mean = {
        name: torch.lerp(before[name].float(), tensor.float(), share).half() if tensor.is_floating_point() else tensor
        for name, tensor in after.items()
    }
    partial = second / f"{WEIGHTS}.partial"
    save_file(mean, partial, metadata={"format": "pt"})
    partial.replace(second / WEIGHTS)
