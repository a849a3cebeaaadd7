# `make demo` shows the main job, `make test` checks everything. Each does all of its own set-up, and both can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INDEX := .demo/index

.PHONY: demo test install clean

demo: install
	$(BIN)/rerank index sample_corpus --index $(INDEX)
	@echo; echo 'First stage alone: BM25'
	$(BIN)/rerank search "coffee maker slow and loud from chalk" --index $(INDEX) --pipeline bm25 --top-k 3
	@echo; echo 'First and second stage: BM25 fetches, the cross-encoder reranks'
	$(BIN)/rerank search "coffee maker slow and loud from chalk" --index $(INDEX) --pipeline bm25_rerank --top-k 3
	@echo; echo 'BM25 and FAISS fetch, the cross-encoder reranks'
	$(BIN)/rerank search "why does my bread smell sour" --index $(INDEX) --pipeline hybrid_rerank --top-k 3
	@echo; echo 'First stage beside second stage, on the judged English queries'
	$(BIN)/rerank eval sample_corpus --pipeline bm25 --pipeline dense --pipeline hybrid \
		--pipeline bm25_rerank --pipeline hybrid_rerank --output .demo/eval

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

install: $(VENV)/installed

# Made anew when what is to be installed has changed.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,eval,ir-datasets,onnx,int8,bench,offline,dev]'
	@touch $@

clean:
	rm -rf $(VENV) .demo
