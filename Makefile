# Everything a newcomer types: `make run`, `make test`. Both set up what is missing first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS_STAMP := $(VENV)/.installed-tests
LEROBOT := .venv-lerobot
LEROBOT06 := .venv-lerobot06

.PHONY: setup run test environments nightly lerobot docs lint format clean

setup: $(STAMP)
	@scripts/install_gl.sh

# Installed again whenever what is to be installed changes, and not otherwise.
$(STAMP): pyproject.toml constraints.txt scripts/install.sh
	@PYTHON="$(PYTHON)" scripts/install.sh $(VENV)
	@touch $@

$(TESTS_STAMP): $(STAMP) scripts/install_tests.sh
	@scripts/install_tests.sh $(VENV)
	@touch $@

# LeRobot's own code in environments of its own, for the tests that compare with it: 0.4, and 0.6, which borrows from it
ifndef RAY_EVAL_LEROBOT_PYTHON
lerobot: $(LEROBOT)/.installed
endif
ifndef RAY_EVAL_LEROBOT06_PYTHON
lerobot: $(LEROBOT06)/.installed
endif

$(LEROBOT)/.installed: constraints-lerobot.txt scripts/install_lerobot.sh scripts/torchvision_without_kernels.py
	@PYTHON="$(PYTHON)" scripts/install_lerobot.sh $(LEROBOT)
	@touch $@

$(LEROBOT06)/.installed: $(LEROBOT)/.installed constraints-lerobot06.txt scripts/install_lerobot06.sh \
    scripts/type_variables.py
	@scripts/install_lerobot06.sh $(LEROBOT06) $(LEROBOT)
	@touch $@

# ten tasks of libero_object on real LIBERO, one episode each, by the scripted expert
run: setup
	@$(BIN)/ray-eval run first_light

# Two files at a time, in the order of their names, so that the short ones of unit come last.
test: environments
	@$(BIN)/python -m pytest -q -m "not nightly and not gpu" --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Both virtual environments side by side, as pip keeps one core busy.
environments:
	@scripts/install_gl.sh both
	@$(MAKE) --no-print-directory --jobs 2 setup $(TESTS_STAMP) lerobot

# what takes longer than a change should wait for
nightly: environments
	@scripts/install_nightly.sh $(VENV)
	@$(BIN)/python -m pytest -q -m "nightly" --timeout 7200

# the documents as a site, in site/, both languages; anything that leads nowhere is an error
docs: setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(LEROBOT) $(LEROBOT06) .venv-metaworld .venv-aloha build dist site *.egg-info
