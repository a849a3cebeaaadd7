"""Models of random weights in the shapes of published ones: they rank nothing, and take as long as the real ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rerank_plugin.errors import InvalidValueError

PREFIX = "random:"
# The Ettin rerankers: width, layers, heads, intermediate width (Weller et al., "Seq vs Seq: an open suite of paired encoders
# and decoders", 2025). Each third layer attends to everything, the others to 64 tokens on each side.
SHAPES: dict[str, tuple[int, int, int, int]] = {
    "ettin-17m": (256, 7, 4, 384),
    "ettin-32m": (384, 10, 6, 576),
    "ettin-68m": (512, 19, 8, 768),
    "ettin-150m": (768, 22, 12, 1152),
    "ettin-400m": (1024, 28, 16, 2624),
}
VOCABULARY = 50_368
LONGEST = 7999
_SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")


def shape_of(model: str) -> str | None:
    """
    Return the shape that a model of random weights has.

    :param model: Such as `random:ettin-17m`.
    :returns: A key of `SHAPES`; `None` if it does not name random weights.
    :raises InvalidValueError: If there is no such shape.
    """
    if not model.startswith(PREFIX):
        return None
    shape = model.removeprefix(PREFIX)
    if shape not in SHAPES:
        raise InvalidValueError(f"there is no shape {shape!r} for {PREFIX}: choose one of {', '.join(SHAPES)}")
    return shape


def write_random(shape: str, texts: Iterable[str], folder: Path) -> Path:
    """
    Write a model as sentence-transformers saves an Ettin reranker: Transformer, CLS pooling, Dense, LayerNorm, Dense.

    :param shape: A key of `SHAPES`.
    :param texts: What its tokenizer learns its words from. Few texts give fewer words than the real tokenizer has, and so
        shorter ones, which is more tokens of the same text.
    :param folder: Where to write it.
    :returns: The folder.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
    from transformers import ModernBertConfig, ModernBertModel

    width, layers, heads, between = SHAPES[shape]
    tokenizer = _tokenizer(texts)
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "cls_token_id", "sep_token_id")}
    config = ModernBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=between,
        max_position_embeddings=LONGEST,
        bos_token_id=special["cls_token_id"],
        eos_token_id=special["sep_token_id"],
        **special,
    )
    encoder = folder / "encoder"
    ModernBertModel(config).save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    chain = [
        Transformer(str(encoder)),
        Pooling(width, pooling_mode="cls"),
        Dense(width, width, activation_function=torch.nn.GELU()),
        LayerNorm(width),
        Dense(width, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    model = folder / shape
    CrossEncoder(modules=chain, device="cpu", activation_fn=torch.nn.Identity()).save_pretrained(str(model))
    return model


def _tokenizer(texts: Iterable[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    names = {f"{name[1:-1].lower()}_token": name for name in _SPECIAL}
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=tokenizer, model_max_length=LONGEST, model_input_names=["input_ids", "attention_mask"], **names
    )
