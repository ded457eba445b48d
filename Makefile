# make predict VIDEO=clip.mp4   install, then judge a video
# make run   install, then run the notebooks on the built-in sample: reports/sample/index.html
# make test  install, then run every test, on all cores; the notebooks are among them
# make bench measure speed and memory against the figures that the suite promises
# make lab   install, then open JupyterLab
# make example   the same, then write the report of the sample as Markdown: reports/example/
# make lock  renew requirements.lock from pyproject.toml

PYTHON ?= python3
PARAMS ?= params/sample.yaml
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: env run predict example test lab lock lint bench

env: .venv/.installed

.venv/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "dfutils needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv

.venv/.installed: .venv/bin/uv requirements.lock pyproject.toml
	$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

run: env
	$(BIN)/dfutils run $(PARAMS)
	@echo "To use the command dfutils here: . $(BIN)/activate (or write $(BIN)/dfutils)"

predict: env
	@test -n "$(VIDEO)" || { echo "Name a video: make predict VIDEO=clip.mp4"; exit 2; }
	$(BIN)/dfutils predict "$(VIDEO)" --explain reports/videos
	@echo "The report is in reports/videos. To use the command dfutils here: . $(BIN)/activate (or write $(BIN)/dfutils)"

example: env
	$(BIN)/dfutils run params/sample.yaml
	$(BIN)/python -m dfutils.reporting.markdown reports/sample reports/example

test: env
	$(BIN)/python -m pytest tests -n auto --dist loadfile --no-loadscope-reorder --durations 10

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: env
	$(BIN)/python -m tests.benchmarks.speed.preprocess
	$(BIN)/python -m tests.benchmarks.speed.interlaced
	$(BIN)/python -m tests.benchmarks.speed.datasets
	$(BIN)/python -m tests.benchmarks.speed.train
	$(BIN)/python -m tests.benchmarks.speed.evaluate
	$(BIN)/python -m tests.benchmarks.quality.metrics
	$(BIN)/python -m tests.benchmarks.quality.coverage
	$(BIN)/python -m tests.benchmarks.quality.slices
	$(BIN)/python -m tests.benchmarks.quality.calibration

lab: env
	$(BIN)/jupyter lab notebooks/

lock: .venv/bin/uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --upgrade --quiet \
		--no-emit-index-url --no-header --no-annotate --output-file requirements.lock
