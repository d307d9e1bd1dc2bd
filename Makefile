# One virtual environment holds everything; VENV=path puts it elsewhere, as .ci/run does.
# `make quickstart TORCH_INDEX=https://download.pytorch.org/whl/cpu` takes the small CPU build of torch.
VENV ?= .venv
PYTHON ?= python3
TORCH_INDEX ?=
QUICKSTART ?= quickstart
TEST_WORKERS ?= 2

export NO_MKDOCS_2_WARNING := 1

# TensorRT-RTX builds engines without a GPU, so that the tests can. These wheels hold it; the packages without their
# suffixes fetch it from elsewhere. Where there is no such wheel, the tests that need it skip and say so.
TENSORRT_RTX := tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116

BIN := $(VENV)/bin
STAMP := $(VENV)/.mstedge-installed
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help quickstart test check format typecheck schema wheel docs slow clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## (.*)/  \1\t\2/' | expand -t 14

quickstart: $(STAMP) ## train, export, verify, predict, bench and report on the built-in digits
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/quickstart.sh $(QUICKSTART)

test: $(STAMP) ## the tests (under 6 minutes on two cores)
	$(PYTEST) -n $(TEST_WORKERS) --dist loadfile --clean-checkout tests

check: $(STAMP) ## format, lint, types, JSON Schema, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --no-print-directory typecheck
	$(BIN)/python scripts/write_manifest_schema.py --check
	$(BIN)/mkdocs build --strict --quiet

format: $(STAMP) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

typecheck: $(STAMP) ## mypy, strict, over the package and the scripts
	sh scripts/link_typing.sh
	$(BIN)/mypy -p mstedge
	$(BIN)/mypy scripts

schema: $(STAMP) ## write mstedge/manifest.schema.json again
	$(BIN)/python scripts/write_manifest_schema.py

wheel: $(STAMP) ## build dist/ and test the wheel in an empty environment
	rm -rf build dist
	$(BIN)/python -m build --no-isolation
	$(PYTEST) tests/architecture/test_wheel.py

docs: $(STAMP) ## build the documentation into site/
	$(BIN)/mkdocs build --strict

slow: $(STAMP) ## the slow tests
	$(PYTEST) -m slow tests

clean: ## remove what was built; keeps the environment and runs/
	rm -rf build dist site quickstart .typing .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed; PYTHON=python3.11 names another" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || \
		{ echo "no virtual environment could be made; on Debian and Ubuntu: sudo apt install python3-venv make" >&2; exit 1; }
	@echo "installing mstedge and its tools into $(VENV): some minutes the first time" >&2
	$(if $(TORCH_INDEX),$(PIP_INSTALL) --no-deps torch --index-url $(TORCH_INDEX))
	$(PIP_INSTALL) -e '.[dev]'
	$(if $(filter x86_64,$(shell uname -m)),$(PIP_INSTALL) --no-deps $(TENSORRT_RTX) || \
		echo "no TensorRT-RTX here: the tests that build engines will be skipped" >&2)
	@touch $@
