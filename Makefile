# `make demo` shows the main job, `make check` is the fast loop, `make test` checks everything. Each does all of its own
# set-up, and all can be repeated. CONTRIBUTING.md says more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INDEX := .demo/index
EXTRAS := train,eval,repair,office,ir-datasets,onnx,int8,bench,offline,serve,mcp,batch,ray,clients,stores,docs,dev

# Up to four processes, each with its own part of the files, so that what the tests of a file share is made once; whichever is
# done first takes over what another has not begun. Each needs up to 2.5 GB.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')
PARALLEL := -n $(WORKERS) --dist worksteal

# What `make soak` is run with: how much of each attack, and further options, such as SOAK="0.2 --only forks".
SOAK ?= 1

.PHONY: demo check test docs refresh-docs build soak test-lowest test-newest test-clients test-scale install clean

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
		--pipeline bm25_rerank --pipeline hybrid_rerank --candidates 30 --output .demo/eval

# Formatting, types, and the tests that are quick.
check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow" $(PARALLEL)

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest $(PARALLEL)

# The site, into site/: strict, and without the network. The variable turns off an advertisement of the theme.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Runs the examples of README and docs, writes what they print today into the pages, and draws the pictures of README and docs.
refresh-docs: install
	PYTHONPATH=tests $(BIN)/python -m code_blocks
	PYTHONPATH=tests $(BIN)/python -m page_pictures

# What is uploaded to a package index, into dist/.
build: install
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

# The attacks in full: hours at SOAK=1.
soak: install
	PYTHONPATH=tests $(BIN)/python -m soak --scale $(SOAK)

# The oldest versions that pyproject.toml allows; their own warnings are theirs. Of torch the one that constraints.txt names.
test-lowest:
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet 'uv>=0.5' "$$(grep '^torch==' constraints.txt)"
	.venv-lowest/bin/pip freeze | grep '^torch==' > .venv-lowest/torch.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
		--constraint .venv-lowest/torch.txt --editable '.[$(EXTRAS)]'
	.venv-lowest/bin/pytest -W default $(PARALLEL) tests/components tests/scoring tests/store

# Clients whose requirements contradict ours, each group in an environment of its own.
CLIENTS := frameworks infinity mcp
test-clients: install
	for name in $(CLIENTS); do \
		test -x .venv-clients-$$name/bin/pytest || { $(PYTHON) -m venv .venv-clients-$$name && \
			.venv-clients-$$name/bin/pip install --quiet -r tests/serving/other_clients/$$name.txt; } || exit 1; \
	done
	PYTHONPATH=tests $(BIN)/python tests/serving/other_clients $(CLIENTS)

# The service and the jobs on a Ray cluster of this machine.
test-scale: install
	$(BIN)/pytest tests/scale -m 'scale or not attack'

# The newest of everything but torch.
test-newest:
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet 'uv>=0.5' "$$(grep '^torch==' constraints.txt)"
	.venv-newest/bin/pip freeze | grep '^torch==' > .venv-newest/torch.txt
	.venv-newest/bin/uv pip install --quiet --python .venv-newest/bin/python --upgrade \
		--constraint .venv-newest/torch.txt --editable '.[$(EXTRAS)]'
	.venv-newest/bin/pytest $(PARALLEL)

install: $(VENV)/installed

# Made anew when what is to be installed has changed.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest .venv-clients-* .demo .pytest_cache dist site
