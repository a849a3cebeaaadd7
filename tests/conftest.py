"""Small real models, created by fixtures: no test needs the Hub."""

import os

# Set before any library that reads them is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
# The test models are so small that threads spend more time waiting for each other than computing.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

# Converted models, for all processes of pytest-xdist, those that tests start, and later runs: quantising the default model
# takes a minute. A changed conversion needs another `conversions.FORMAT`, here as for users; `make clean` deletes them.
os.environ["RERANK_PLUGIN_CACHE"] = str(Path(__file__).parents[1] / ".pytest_cache" / "converted")

import pytest
from zygote import share_zygote

share_zygote()

pytest_plugins = ["browser_fixtures", "database_fixtures", "serving_fixtures"]

WORDS = (
    "the a an of in on and is are was what which who where when how why does do city capital river mountain coffee tea bread "
    "dog cat fox bird blue red green sky sea sun moon star paris berlin rome france germany italy water fire earth air big small "
    "old new fast slow runs eats sleeps drinks sits jumps over under near far north south east west king queen book library"
).split()
SENTENCES = [
    "Paris is the capital of France.",
    "Berlin is the capital of Germany and a big city.",
    "The red fox jumps over the old dog.",
    "The sky is blue and the sea is blue.",
    "Coffee and tea are drinks.",
    "The moon is near the earth, the sun is far.",
    "A library is where the books are.",
    "The river runs from the mountain to the sea.",
]


QUERIES = {"q1": "capital of france", "q2": "red fox", "q3": "coffee and tea", "q4": "where are the books"}
RELEVANT = {"q1": 0, "q2": 2, "q3": 4, "q4": 6}


def write_tokenizer(folder: Path, *, max_length: int = 64) -> None:
    """A WordPiece tokenizer with the words above and all letters, so that any ASCII text has pieces."""
    from transformers import BertTokenizer

    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,?!'-"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *("##" + letter for letter in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(dict.fromkeys(tokens)), encoding="utf-8")
    BertTokenizer(vocab=str(vocabulary), model_max_length=max_length).save_pretrained(str(folder))


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """The tokenizer of the tests, as the scorer has it."""
    from transformers import AutoTokenizer

    from rerank_plugin.scoring.tokens import PairTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return PairTokenizer.of(AutoTokenizer.from_pretrained(str(folder)), max_length=64)


def write_cross_encoder(folder: Path, *, labels: int = 1, seed: int = 7, spread: float = 0.3, max_length: int = 64) -> Path:
    """A BERT of two layers under a classification head, all weights random but reproducible."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    write_tokenizer(folder, max_length=max_length)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=max_length,
        num_labels=labels,
        initializer_range=spread,  # larger than usual, so that the scores of different texts differ clearly
    )
    BertForSequenceClassification(config).save_pretrained(str(folder))
    return folder


def write_bi_encoder(folder: Path) -> Path:
    """A BERT of one layer under mean pooling, all weights random but reproducible."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    encoder = folder.with_name("encoder")
    write_tokenizer(encoder)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(str(encoder))
    SentenceTransformer(modules=[Transformer(str(encoder)), Pooling(32)], device="cpu").save_pretrained(str(folder))
    return folder


def grades_of_a_judge(model: Path, query: str, texts: list[str], chance: random.Random) -> list[int]:
    """Grades 0 to 3 of someone who agrees with a model more often than not, so that a calibration fits it."""
    from rerank_plugin import CrossEncoderRanker

    with CrossEncoderRanker(model=str(model), backend="torch") as ranker:
        logits = ranker.logits(query, texts)
    center, spread = fmean(logits), pstdev(logits) or 1.0
    return [min(3, max(0, round(2 * (logit - center) / spread + chance.gauss(0, 1)))) for logit in logits]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this suite."""
    parser.addoption("--full-lists", action="store_true", help="200 queries x 50 passages for each family of models")


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny cross-encoder."""
    return write_cross_encoder(tmp_path_factory.mktemp("models") / "cross-encoder")


@pytest.fixture(scope="session")
def bi_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny sentence-transformers embedding model, not a cross-encoder."""
    return write_bi_encoder(tmp_path_factory.mktemp("models") / "bi-encoder")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen passages in BEIR layout, four of them judged relevant, one for each query."""
    folder = tmp_path_factory.mktemp("collections") / "tiny"
    (folder / "qrels").mkdir(parents=True)
    texts = [*SENTENCES, *(f"{text} The sea is blue." for text in SENTENCES)]
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": q}) for i, q in QUERIES.items()))
    lines = [f"{query}\td{document}\t1" for query, document in RELEVANT.items()]
    for split in ("dev", "test"):
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


@dataclass
class Done:
    """The result of a command."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def rerank(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command line like the entry point, but in this process: importing torch for each test would take minutes."""

    from rerank_plugin.cli import main

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["rerank", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Done(end.value.code or 0, captured.out, captured.err)

    return run
