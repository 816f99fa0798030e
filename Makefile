# Needs make and a python3 of version 3.11 or later; everything else goes into .venv.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test slow lint wheel lock setup

demo: setup  ## train a detector on drawn shapes, print its mAP, draw its detections
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/yolojax train --config=quickstart --workdir=runs/quickstart
	@echo
	@echo "Detections:    runs/quickstart/plots/val_batch0_pred.jpg"
	@echo "Ground truth:  runs/quickstart/plots/val_batch0_labels.jpg"
	@echo "Curves:        runs/quickstart/plots/curves.png"

test: setup lint  ## ruff and the tests, as CI runs them
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20

slow: setup  ## the tests that take minutes or need data outside the project
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

wheel: setup  ## build the wheel and use it outside the checkout
	.ci/wheel $(BIN)

lock:  ## write requirements.lock anew, with uv; each Python gets the newest JAX that supports it
	uv pip compile pyproject.toml --extra test --universal --fork-strategy requires-python --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links -o requirements.lock

setup: .venv/done

.venv/done: requirements.lock pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "yolojax needs Python 3.11 or later; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
