"""
Step 2 of 2 on the way to the bundled models, on a machine with a GPU (an H100 needs about 12 minutes).

    python benchmarks/bundled_model/train_on_gpu.py material.json.xz --bilingual-start FOLDER --output FOLDER

1. Lists: judged queries and pseudo queries, twelve candidates each, with the opinions of BM25 and two bi-encoders.
2. The bilingual model learns from those opinions and from the judgements, on English and Russian lists.
3. The English model learns from all that and from the bilingual model, which by then is the best of the teachers.

Judgements alone make a reranker that is good at them and hurts elsewhere: SQuAD's questions share their words with the answer.
The opinions of the retrievers are what carries over to other subjects.
"""

import argparse
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from candidate_lists import LIST_SIZE, Lists, Share, ask, make_lists
from distil import Lesson, distil
from encoders import DEVICE, HALF, Encoder, Pairs, Texts
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer

from rerank_plugin.training.save import save_half

MPNET = Encoder("sentence-transformers/all-mpnet-base-v2")
MINILM = Encoder("sentence-transformers/all-MiniLM-L6-v2")
ENGLISH = {
    "squad11_train": Share(30_000, 1, 17_000),
    "nq_qed_clapnq": Share(9_999, 2, 12_000),
    "medquad": Share(13_000, 1, 9_000),
    "perspectrum": Share(541, 8, 4_000),
}
RUSSIAN = {
    "danetqa_ru": Share(9_999, 3, 8_000),
    "muserc_ru": Share(9_999, 3, 4_000),
    "rumeddanet_ru": Share(9_999, 3, 6_000),
    "ms_alchemy_ru": Share(9_999, 2, 8_000),
}
# Cosine of MPNet (English only), cosine of multilingual E5, BM25 / best BM25, BM25 / 10: near to a conditional logit of the judged
# passages in lists like these, with more weight on BM25, as the judged collections are near to what the bi-encoders learned from.
ENGLISH_WEIGHTS, RUSSIAN_WEIGHTS = (12.0, 19.0, 0.5, 0.8), (54.0, 1.5, 1.3)


def pairs_of(encoder: Encoder, lists: Lists) -> Pairs:
    """The texts of lists, for a model."""
    tokenizer = encoder.tokenizer
    return Pairs(tokenizer, Texts(tokenizer, lists.queries, 64), Texts(tokenizer, lists.passages, 440))


def logits_of(model: Any, pairs: Pairs, lists: Lists) -> np.ndarray:
    """What a cross-encoder thinks of the candidates."""
    q = np.repeat(np.arange(len(lists.queries)), LIST_SIZE)
    return pairs.score(model, q, lists.candidates.reshape(-1), 256).reshape(-1, LIST_SIZE)


def save(model: Any, start: Encoder, folder: Path) -> None:
    """Save a model as the bundled ones are: a cross-encoder of sentence-transformers with float16 weights."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        AutoTokenizer.from_pretrained(start.source).save_pretrained(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        save_half(CrossEncoder(scratch, device="cpu"), folder, base=start.source)


def main() -> None:
    """Make lists, train both models, save them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", type=Path)
    parser.add_argument("--bilingual-start", required=True, help="multilingual E5 small, whole or with its vocabulary cut")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--bilingual-seconds", type=float, default=180)
    parser.add_argument("--english-seconds", type=float, default=225)
    options = parser.parse_args()
    print("device:", DEVICE)
    material = json.loads(lzma.decompress(options.material.read_bytes()))
    e5 = Encoder(options.bilingual_start, "query: ", "passage: ")
    english = make_lists(*ask(material["collections"], ENGLISH, "en"), material["stems"]["en"], [MPNET, e5])
    russian = make_lists(*ask(material["collections"], RUSSIAN, "ru"), material["stems"]["ru"], [e5])
    print("lists:", len(english.queries), "English,", len(russian.queries), "Russian")

    bilingual, both = e5.cross_encoder(), [pairs_of(e5, lists) for lists in (english, russian)]
    lessons = [
        Lesson(0.55, both[0], english.candidates, english.targets(ENGLISH_WEIGHTS)),
        Lesson(0.45, both[1], russian.candidates, russian.targets(RUSSIAN_WEIGHTS)),
    ]
    distil(bilingual, lessons, seconds=options.bilingual_seconds, lists=40, peak=1.5e-4, frozen=("embeddings",))
    save(bilingual, e5, options.output / "bilingual")

    logits = logits_of(bilingual.to(HALF).eval(), both[0], english)
    student = MINILM.cross_encoder()
    lesson = Lesson(1.0, pairs_of(MINILM, english), english.candidates, english.targets(ENGLISH_WEIGHTS, logits))
    distil(student, [lesson], seconds=options.english_seconds, lists=48, peak=1.5e-4, frozen=("position",))
    save(student, MINILM, options.output / "english")


if __name__ == "__main__":
    main()
