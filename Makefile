# Everything runs in a virtual environment in .venv and in rust/target; nothing is
# installed outside the tree, except Debian packages where there is no other way.
# Each step leaves a stamp, so that running a target again is quick.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
CARGO ?= cargo
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/rust/target)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

RUST_SOURCES := $(shell find rust -path rust/target -prune -o \( -name '*.rs' -o -name 'Cargo.*' \) -print)

APT := $(if $(filter 0,$(shell id -u)),,sudo) env DEBIAN_FRONTEND=noninteractive apt-get
APT_INSTALL := $(APT) install -y -q --no-install-recommends

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# ---- What the others stand on -------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fastwalk needs Python 3.11 or newer; say which: make PYTHON=..."; exit 1; }
	@command -v cc >/dev/null || { $(APT) update -q && $(APT_INSTALL) gcc libc6-dev; }
	$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); $(APT) update -q && $(APT_INSTALL) python3-venv && $(PYTHON) -m venv $(VENV); }

$(STAMPS)/maturin: $(BIN)/python pyproject.toml
	@mkdir -p $(STAMPS)
	$(BIN)/python -m pip install -q "$$($(BIN)/python -c 'import tomllib; \
	  print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])')"
	@touch $@

# The extension lies in python/fastwalk, and .venv knows where: Python sources are used
# as they are.
$(STAMPS)/extension: $(STAMPS)/maturin $(RUST_SOURCES)
	@echo 'building the extension (a minute or two the first time)'
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) PIP_QUIET=1 $(BIN)/maturin develop -q --release --locked
	@touch $@

# What tests and lints need, as pyproject.toml names it.
$(STAMPS)/tools: $(BIN)/python pyproject.toml
	@mkdir -p $(STAMPS)
	$(BIN)/python -c 'import tomllib; \
	  extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	  print(*(line for extra in ("frames", "plot", "bulk", "browser", "notebooks", "docs", "test", "lint") for line in extras[extra]), sep="\n")' > $(VENV)/tools.txt
	$(BIN)/python -m pip install -q -r $(VENV)/tools.txt
	@touch $@

.PHONY: build
build: $(STAMPS)/extension  ## the extension, in .venv

# ---- To look at ---------------------------------------------------------------------

DEMO := x86_64-6.12-4level

build/demo/$(DEMO)/tables.elf: tests/golden/$(DEMO).tar.xz | $(BIN)/python
	@mkdir -p $(@D)
	@$(BIN)/python -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="data")' $< $(@D)
	@touch $@

.PHONY: demo
demo: build build/demo/$(DEMO)/tables.elf  ## the ptdump text of a real kernel
	@cd build/demo/$(DEMO); echo '$$ fastwalk ptdump tables.elf --layout layout.json'; \
	TIMEFORMAT='printed in %R s, process start included'; \
	time $(CURDIR)/$(BIN)/fastwalk ptdump tables.elf --layout layout.json

# ---- To be sure ---------------------------------------------------------------------

.PHONY: test
test: test-rust test-notebooks test-python  ## every test, Rust and Python

# The benches' own walk in Rust is tested, too, where it can be built.
LIMITS := $(if $(filter x86_64,$(shell uname -m)),benches/limits/limits.abi3.so)

.PHONY: test-rust
test-rust: $(BIN)/python  ## the core's tests
	cd rust && $(CARGO) test --locked -q --workspace

.PHONY: test-python
test-python: $(STAMPS)/extension $(STAMPS)/tools $(LIMITS)  ## the tests under tests/
	$(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: test-notebooks
test-notebooks: $(STAMPS)/extension $(STAMPS)/tools  ## runs docs/notebooks
	$(BIN)/python -m pytest --nbmake docs/notebooks

.PHONY: check
check: $(STAMPS)/extension $(STAMPS)/tools  ## formatting, lints, types, stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd rust && $(CARGO) fmt --check
	cd rust && $(CARGO) clippy --locked -q --workspace --all-targets -- -D warnings
	cd benches/limits && $(CARGO) fmt --check
	$(if $(LIMITS),cd benches/limits && $(CARGO) clippy --locked -q --target-dir $(TARGET_DIR)/limits -- -D warnings)
	$(BIN)/mypy
	MYPYPATH=benches $(BIN)/mypy benches
	$(BIN)/stubtest --allowlist tests/stubtest-allowlist.txt --ignore-unused-allowlist \
	  fastwalk._fastwalk

.PHONY: format
format: $(STAMPS)/tools  ## put sources into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd rust && $(CARGO) fmt
	cd benches/limits && $(CARGO) fmt

# The core's tests on AArch64 under user-mode emulation. The standard library for it
# comes from Debian, so the compiler does, too. The guest's libc is libc6:arm64, which
# libstd-rust-web-dev:arm64 brings: with `qemu-aarch64 -L /usr/aarch64-linux-gnu` the
# loader of one libc would load another. Tests that start themselves again (child_...)
# cannot: the host does not run AArch64 programs.
NEON := aarch64-unknown-linux-gnu
NEON_PACKAGES := rustc-web libstd-rust-web-dev:arm64 libc6:arm64 gcc-aarch64-linux-gnu \
  libc6-dev-arm64-cross qemu-user
NEON_CARGO := RUSTC=/usr/bin/rustc CARGO_TARGET_DIR=$(TARGET_DIR)/neon \
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64 \
  $(CARGO) test --locked -q -p fastwalk-core --target $(NEON) --tests

.PHONY: deps-neon
deps-neon:
	@if ! dpkg-query -W -f '$${db:Status-Abbrev}\n' $(NEON_PACKAGES) 2>/dev/null \
	    | awk '/^ii/ {n++} END {exit n != $(words $(NEON_PACKAGES))}'; then \
	  set -x; \
	  $(filter-out env DEBIAN_FRONTEND=noninteractive apt-get,$(APT)) dpkg --add-architecture arm64; \
	  $(APT) update -q; \
	  $(APT_INSTALL) $(NEON_PACKAGES); \
	fi

.PHONY: test-neon
test-neon: deps-neon | $(BIN)/python  ## the core's tests on emulated AArch64
	cd rust && $(NEON_CARGO) -- --skip child_
	@cd rust && $(NEON_CARGO) -- --nocapture scan::tests:: | grep -o 'scanned with neon' \
	  || { echo "the NEON scan did not run"; exit 1; }

.PHONY: test-browser
test-browser: $(STAMPS)/extension $(STAMPS)/tools  ## the report, clicked through in Chromium
	@command -v chromium >/dev/null || { $(APT) update -q && $(APT_INSTALL) chromium fonts-dejavu-core; }
	$(BIN)/python -m pytest tests/browser

# libkdumpfile is for the system's Python only, from Debian.
.PHONY: test-oracle
test-oracle: $(STAMPS)/extension $(STAMPS)/tools  ## kdump files against libkdumpfile, page by page
	@/usr/bin/python3 -c 'import kdumpfile' 2>/dev/null \
	  || { $(APT) update -q && $(APT_INSTALL) python3-libkdumpfile; } \
	  || { echo "test-oracle: python3-libkdumpfile cannot be had here, nothing was compared"; exit 1; }
	$(BIN)/python -m pytest tests/oracle

# ---- To be read ----------------------------------------------------------------------

.PHONY: docs
docs: $(STAMPS)/extension $(STAMPS)/tools  ## the site, in build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Random page tables against the naive walk, and random damage to images. What it finds
# becomes a test.
.PHONY: fuzz
fuzz: $(STAMPS)/extension $(STAMPS)/tools  ## random tables and damaged images, for an hour or so
	cd rust && FASTWALK_FUZZ_ROUNDS=$(or $(ROUNDS),100000) FASTWALK_FUZZ_SEED=$(or $(SEED),$(shell date +%s)) \
	  $(CARGO) test --locked -q --release -p fastwalk-core --test image random_damage -- --nocapture
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest -n auto --dist worksteal tests/test_walk.py tests/test_naive.py

# ---- To be fast ----------------------------------------------------------------------

$(STAMPS)/bench: $(STAMPS)/tools
	$(BIN)/python -c 'import tomllib; \
	  extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	  print(*extras["bench"], sep="\n")' > $(VENV)/bench.txt
	$(BIN)/python -m pip install -q -r $(VENV)/bench.txt
	@touch $@

# What the machine can do, to hold the results against.
benches/limits/limits.abi3.so: $(wildcard benches/limits/src/*.rs benches/limits/Cargo.*) | $(BIN)/python
	cd benches/limits && PYO3_PYTHON=$(CURDIR)/$(BIN)/python \
	  $(CARGO) build -q --release --locked --target-dir $(TARGET_DIR)/limits
	cp $(TARGET_DIR)/limits/release/liblimits.so $@

BENCH_BUILD := $(STAMPS)/extension $(STAMPS)/bench benches/limits/limits.abi3.so
BENCH_RUN := $(BIN)/python -m pytest -o python_files='bench_*.py' benches

.PHONY: bench
bench: $(BENCH_BUILD)  ## the benches; BENCH='-k scan' for some
	$(BENCH_RUN) $(BENCH)

.PHONY: bench-check
bench-check: $(BENCH_BUILD)  ## all benches; fails where a ratio fell by more than 20 %
	rm -f benches/images/ratios.json
	$(BENCH_RUN)
	$(BIN)/python benches/check.py

.PHONY: bench-large
bench-large: $(BENCH_BUILD)  ## scan and walk of 1 TiB in 4K pages: 2 GiB of tables
	$(BENCH_RUN) -k large

# What one would use instead, each in a virtual environment of its own. One that cannot be
# had is named here and in the table.
PEERS := build/peers
PEER_PACKAGES := volatility3==2.28.2 drgn==0.3.0 memprocfs==5.19.0

.PHONY: peers
peers: $(BIN)/python  ## the peers, in build/peers
	@mkdir -p $(PEERS)
	@for package in $(PEER_PACKAGES); do \
	  place=$(PEERS)/$${package%%=*}; \
	  [ -x $$place/bin/python ] || { \
	    $(PYTHON) -m venv $$place && $$place/bin/python -m pip install -q $$package; \
	  } || { rm -rf $$place; echo "$$package cannot be had here"; }; \
	done
	@[ -e /usr/include/libkdumpfile/addrxlat.h ] \
	  || { $(APT) update -q && $(APT_INSTALL) libkdumpfile-dev; } || true
	@$(CC) -O2 -Wall -Wextra benches/peers/addrxlat.c -o $(PEERS)/addrxlat -laddrxlat \
	  || { rm -f $(PEERS)/addrxlat; echo "addrxlat (libkdumpfile-dev) cannot be had here"; }

.PHONY: bench-peers
bench-peers: $(BENCH_BUILD) peers  ## against volatility3, drgn, addrxlat, ...: one table, some minutes
	$(BIN)/python benches/peers/run.py $(BENCH)

.PHONY: bench-scaling
bench-scaling: $(BENCH_BUILD)  ## time and memory by size, threads, roots; writes tables and plots
	$(BIN)/python benches/scaling.py $(BENCH)

.PHONY: bench-startup
bench-startup: $(STAMPS)/extension  ## how long importing and each command take to start
	$(BIN)/python benches/startup.py $(BENCH)

.PHONY: clean
clean:  ## takes away what make made
	rm -rf $(VENV) build benches/images rust/target .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f python/fastwalk/_fastwalk*.so
	find python tests -name __pycache__ -prune -exec rm -rf {} +
