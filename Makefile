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

test: setup  ## all tests; three processes, as some of them wait for time-outs, browsers and networks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup  ## speed against peers, into results/; needs FER2013 in $$(SHARED) and about 30 minutes
	$(BIN)/python -m benchmarks.load --parquet $(SHARED)/data/fer2013.parquet --json results/load.json
	$(BIN)/python -m benchmarks.keras_epoch --data $(SHARED)/data/fer2013.parquet \
	  --weights $(SHARED)/data/mobilenet_1_0_224_tf_no_top.h5 --json results/keras_epoch.json
	$(BIN)/python -m benchmarks.time_to_accuracy --data $(SHARED)/data/fer2013.parquet \
	  --weights $(SHARED)/data/mobilenet_1_0_224_tf_no_top.h5 --json results/time_to_accuracy.json
	$(BIN)/python -m benchmarks.latency --json results/latency.json
	$(BIN)/python -m benchmarks.inference --data $(SHARED)/data/fer2013.parquet --json results/inference.json
	$(BIN)/python -m benchmarks.browser --data $(SHARED)/data/fer2013.parquet --json results/browser.json
	$(BIN)/python -m tools.browser_page
	$(BIN)/python -m benchmarks.video --json results/video.json
	$(BIN)/python -m benchmarks.serve --json results/serve.json
	$(BIN)/python -m benchmarks.score --data $(SHARED)/data/fer2013.parquet --json results/score.json
	$(BIN)/python -m benchmarks.stream --data $(SHARED)/data/fer2013.parquet \
	  --weights $(SHARED)/data/mobilenet_1_0_224_tf_no_top.h5 --json results/stream.json
	$(BIN)/python -m benchmarks.parallel --data $(SHARED)/data/fer2013.parquet \
	  --weights $(SHARED)/data/mobilenet_1_0_224_tf_no_top.h5 --json results/parallel.json

reliability: setup  ## every test of the fault table (docs/reliability.md), into results/; as root, about 10 minutes
	$(BIN)/python -m benchmarks.reliability --json results/reliability.json

docs: setup  ## the documentation site, into build/site; open build/site/index.html
	$(BIN)/python -m tools.docs_tables --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(OUT) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
