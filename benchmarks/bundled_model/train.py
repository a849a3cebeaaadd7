"""
Step 2 of 2 in building the bundled models: five stages, each of which reads the output of earlier ones from a folder.

    python benchmarks/bundled_model/train.py lists-en WORK --material material.json.xz
    python benchmarks/bundled_model/train.py teacher WORK
    python benchmarks/bundled_model/train.py lists-ru WORK --material material.json.xz --e5 FOLDER
    python benchmarks/bundled_model/train.py bilingual WORK --start FOLDER
    python benchmarks/bundled_model/train.py english WORK --start FOLDER

- `lists-en`, `lists-ru`: judged queries and pseudo queries, twelve candidates each, with the scores of BM25 and a bi-encoder.
- `teacher`: a cross-encoder of the size of BERT base, from MPNet, learns from these scores, those of its own bi-encoder and the
  judgements; then it scores the lists.
- `bilingual`: a small model learns from the teacher, the scores and the judgements, in English and in Russian.
- `english`: the same on the English lists. For both, `--start` can be an encoder, a cross-encoder, or one made smaller by
  `shorten.py`.

The stages need a GPU, except `english`, which uses fewer candidates per list without one.

Trained on judgements alone, a reranker is good on their collections and harmful elsewhere: SQuAD's questions share words with the
answer. The retrievers' scores transfer to other subjects, and a large cross-encoder transfers them best.
"""

import argparse
import json
import lzma
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from candidate_lists import LIST_SIZE, Lists, Share, ask, make_lists
from distil import Course, Lesson, distil
from encoders import DEVICE, HALF, Encoder, Pairs, Texts
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer

from rerank_plugin.training.output.save import save_half

ENGLISH = {
    "squad11_train": Share(40_000, 1, 22_000),
    "nq_qed_clapnq": Share(9_999, 2, 16_000),
    "medquad": Share(13_000, 1, 20_000),
    "perspectrum": Share(541, 8, 5_000),
}
RUSSIAN = {
    "danetqa_ru": Share(9_999, 3, 8_000),
    "muserc_ru": Share(9_999, 3, 4_000),
    "rumeddanet_ru": Share(9_999, 3, 6_000),
    "ms_alchemy_ru": Share(9_999, 2, 8_000),
}
# Cosine (of MPNet and of MiniLM in English, of multilingual E5 in Russian), BM25 / best BM25, BM25 / 10: close to a conditional logit
# model of the judged passages in such lists, with more weight on BM25, as the judged collections resemble the training data of
# the bi-encoders.
ENGLISH_WEIGHTS, RUSSIAN_WEIGHTS = (12.0, 6.0, 3.0, 2.0), (54.0, 1.5, 1.3)
LISTS_EN, LISTS_RU, TARGETS = "lists-en.pickle", "lists-ru.pickle", "targets-en.npy"


def pairs_of(encoder: Encoder, lists: Lists) -> Pairs:
    """Return the texts of lists, tokenised for a model."""
    tokenizer = encoder.tokenizer
    return Pairs(tokenizer, Texts(tokenizer, lists.queries, 64), Texts(tokenizer, lists.passages, 440))


def save(model: Any, start: Encoder, folder: Path) -> None:
    """Save a model like the bundled ones: a sentence-transformers cross-encoder with float16 weights."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        AutoTokenizer.from_pretrained(start.source).save_pretrained(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        save_half(CrossEncoder(scratch, device="cpu"), folder, base=start.source)


def make(options: argparse.Namespace, lang: str) -> None:
    """Build the lists of a language."""
    material = json.loads(lzma.decompress(options.material.read_bytes()))
    shares, encoder = (ENGLISH, Encoder(options.minilm)) if lang == "en" else (RUSSIAN, e5(options.e5))
    lists = make_lists(*ask(material["collections"], shares, lang), material["stems"][lang], [encoder])
    print("lists:", len(lists.queries), lang, flush=True)
    (options.work / (LISTS_EN if lang == "en" else LISTS_RU)).write_bytes(pickle.dumps(lists))


def e5(source: str) -> Encoder:
    """Return multilingual E5 as a bi-encoder."""
    return Encoder(source, "query: ", "passage: ")


def read(path: Path) -> Lists:
    """Read the lists of an earlier stage."""
    lists: Lists = pickle.loads(path.read_bytes())
    return lists


def teacher(options: argparse.Namespace) -> None:
    """Train the teacher, score with it, and write the distillation targets of the English candidates."""
    mpnet = Encoder(options.mpnet)
    lists = read(options.work / LISTS_EN).with_cosines(mpnet)
    model, pairs = mpnet.cross_encoder(), pairs_of(mpnet, lists)
    lesson = Lesson(1.0, pairs, lists.candidates, lists.targets(ENGLISH_WEIGHTS))
    distil(model, [lesson], Course(24, 5e-5, (192, 320), 40_000), seconds=options.seconds)
    save(model, mpnet, options.work / "teacher")
    q = np.repeat(np.arange(len(lists.queries)), LIST_SIZE)
    logits = pairs.score(model.to(HALF).eval(), q, lists.candidates.reshape(-1), 256).reshape(-1, LIST_SIZE)
    np.save(options.work / TARGETS, lists.targets(ENGLISH_WEIGHTS, logits))


def english(options: argparse.Namespace) -> None:
    """Train the English model."""
    start, lists = Encoder(options.start), read(options.work / LISTS_EN)
    model = start.cross_encoder()
    lesson = Lesson(1.0, pairs_of(start, lists), lists.candidates, np.load(options.work / TARGETS))
    on_gpu, on_cpu = Course(48, 2e-4, (224, 384), 160_000), Course(16, 1.5e-4, (160, 384), 160_000, candidates=6)
    distil(model, [lesson], on_gpu if DEVICE == "cuda" else on_cpu, seconds=options.seconds)
    save(model, start, options.work / "english")


def bilingual(options: argparse.Namespace) -> None:
    """Train the bilingual model."""
    start = Encoder(options.start)
    model, of_english, of_russian = start.cross_encoder(), read(options.work / LISTS_EN), read(options.work / LISTS_RU)
    lessons = [
        Lesson(0.55, pairs_of(start, of_english), of_english.candidates, np.load(options.work / TARGETS)),
        Lesson(0.45, pairs_of(start, of_russian), of_russian.candidates, of_russian.targets(RUSSIAN_WEIGHTS)),
    ]
    distil(model, lessons, Course(40, 1.5e-4, (192, 384), 80_000), seconds=options.seconds)
    save(model, start, options.work / "bilingual")


STAGES = {
    "lists-en": lambda options: make(options, "en"),
    "lists-ru": lambda options: make(options, "ru"),
    "teacher": teacher,
    "english": english,
    "bilingual": bilingual,
}


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("work", type=Path)
    parser.add_argument("--material", type=Path, help="file written by material.py")
    parser.add_argument("--minilm", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--mpnet", default="sentence-transformers/all-mpnet-base-v2")
    parser.add_argument("--e5", default="intfloat/multilingual-e5-small", help="or a folder with a reduced vocabulary")
    parser.add_argument("--start", help="start of the student: Hub id or folder")
    parser.add_argument("--seconds", type=float, default=300, help="training time")
    options = parser.parse_args()
    if options.stage.startswith("lists") and options.material is None:
        parser.error(f"{options.stage} needs --material: the file that material.py wrote")
    if options.stage in ("english", "bilingual") and options.start is None:
        parser.error(f"{options.stage} needs --start: an encoder such as intfloat/multilingual-e5-small, or a cross-encoder")
    print("stage:", options.stage, "device:", DEVICE, flush=True)
    options.work.mkdir(parents=True, exist_ok=True)
    STAGES[options.stage](options)


if __name__ == "__main__":
    main()
