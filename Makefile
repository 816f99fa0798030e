# Needs nothing but make and a python3 of version 3.11 or later; everything else goes into .venv.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test setup lint slow

demo: setup  ## train a detector on drawn shapes, print its mAP, draw what it finds
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python train.py --config=configs/quickstart.py --workdir=runs/quickstart
	@echo
	@echo "Drawn detections:  runs/quickstart/plots/val_batch0_pred.jpg"
	@echo "Drawn truths:      runs/quickstart/plots/val_batch0_labels.jpg"
	@echo "Curves:            runs/quickstart/plots/curves.png"

test: setup lint  ## what CI runs
	$(BIN)/python -m pytest -n 2 --dist loadfile

slow: setup  ## the tests that take minutes or need data outside the project
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

setup: .venv/done

.venv/done: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "yolojax needs Python 3.11 or later; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
