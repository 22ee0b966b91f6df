# Two commands set everything up: `make demo` and `make test`. Both install into $(VENV) first.
VENV ?= .venv
PYTHON ?= python3
TORCH ?= torch==2.13.0
OUT ?= demo
SHARED ?= ../shared
BIN := $(VENV)/bin

.PHONY: demo test lint format bench docs reliability setup clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: setup  ## the main job on drawn faces: data, training, evaluation, pictures
	$(BIN)/mien demo --out $(OUT)

test: setup  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup  ## speed against peers, into results/; needs FER2013 in $$(SHARED) and about 30 minutes
	$(BIN)/python benchmarks/load.py --parquet $(SHARED)/data/fer2013.parquet --json results/load.json
	$(BIN)/python benchmarks/keras_epoch.py --data $(SHARED)/data/fer2013.parquet \
	  --weights $(SHARED)/data/mobilenet_1_0_224_tf_no_top.h5 --json results/keras_epoch.json
	$(BIN)/python benchmarks/time_to_accuracy.py --data $(SHARED)/data/fer2013.parquet \
	  --weights $(SHARED)/data/mobilenet_1_0_224_tf_no_top.h5 --json results/time_to_accuracy.json
	$(BIN)/python benchmarks/latency.py --json results/latency.json
	$(BIN)/python benchmarks/inference.py --data $(SHARED)/data/fer2013.parquet --json results/inference.json
	$(BIN)/python benchmarks/browser.py --data $(SHARED)/data/fer2013.parquet --json results/browser.json
	$(BIN)/python benchmarks/browser_page.py
	$(BIN)/python benchmarks/video.py --json results/video.json
	$(BIN)/python benchmarks/serve.py --json results/serve.json
	$(BIN)/python benchmarks/score.py --data $(SHARED)/data/fer2013.parquet --json results/score.json
	$(BIN)/python benchmarks/stream.py --data $(SHARED)/data/fer2013.parquet \
	  --weights $(SHARED)/data/mobilenet_1_0_224_tf_no_top.h5 --json results/stream.json
	$(BIN)/python benchmarks/parallel.py --data $(SHARED)/data/fer2013.parquet \
	  --weights $(SHARED)/data/mobilenet_1_0_224_tf_no_top.h5 --json results/parallel.json

reliability: setup  ## every test of the fault table (docs/reliability.md), into results/; as root, about 10 minutes
	$(BIN)/python benchmarks/reliability.py --json results/reliability.json

docs: setup  ## the documentation site, into build/site; open build/site/index.html
	$(BIN)/python benchmarks/docs_tables.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(OUT) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
