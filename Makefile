# One command for everything. `make` prints what there is.

CARGO     ?= cargo
PIPELINE  ?= pipelines/speech.yaml
RECORDING ?= $(firstword $(sort $(wildcard examples/recordings/*.wav)))

.NOTPARALLEL:
.DEFAULT_GOAL := help

# Where rustup puts cargo, for shells that were open before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

ifdef CI
  LOCKED := --locked
  export CARGO_INCREMENTAL := 0
  export CARGO_NET_RETRY := 5
  export CARGO_PROFILE_DEV_DEBUG := 0
  export CARGO_TERM_COLOR := never
  export CARGO_TERM_PROGRESS_WHEN := never
  export RUST_BACKTRACE := 1
  # The same cases in every run, so that a failure is the change's own; elsewhere each run tries new ones.
  export PROPTEST_RNG_SEED := 20260101
endif

# The folder that cargo builds into, wherever its configuration puts it.
TARGET_DIR = $$($(CARGO) metadata $(LOCKED) --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# Each must build alone, beside none of them and all of them.
FEATURES := cli microphone codecs onnxruntime

.PHONY: help setup build demo test mutations check fmt deny lint features docs architecture bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the system packages that are missing (Debian, Ubuntu)
	@bash .ci/system-packages

build: setup ## the program, optimised
	$(CARGO) build $(LOCKED) --release

demo: build ## a recording, read as text: fetches what the pipeline needs at the first time
	@test -n "$(RECORDING)" || { echo "make demo: no recording in examples/recordings; give one: make demo RECORDING=FILE" >&2; exit 1; }
	@echo 'percept setup $(PIPELINE)'; "$(TARGET_DIR)/release/percept" setup "$(PIPELINE)"
	@echo 'percept run $(PIPELINE) --input $(RECORDING)'; "$(TARGET_DIR)/release/percept" run "$(PIPELINE)" --input "$(RECORDING)"

test: setup ## every test; fetches the models that they run
	$(CARGO) test $(LOCKED) --no-run
	@for pipeline in $(wildcard pipelines/*.yaml); do echo "percept setup $$pipeline"; "$(TARGET_DIR)/debug/percept" setup "$$pipeline" || exit 1; done
	$(CARGO) test $(LOCKED)

mutations: setup ## 100,000 damaged ONNX files on the training engine, minutes
	PERCEPT_MUTATIONS=100000 $(CARGO) test $(LOCKED) --release --test engine_mutation

check: setup fmt deny lint features docs architecture test ## everything that must hold before a merge

fmt: ## the sources are formatted
	@$(CARGO) fmt --check $$(test -t 1 || echo -- --color never)

deny: ## licences, advisories and sources of the dependencies (deny.toml)
	@CARGO="$(CARGO)" bash .ci/deny

lint: ## clippy, with warnings as errors
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings

features: ## clippy without the default features, with each of them alone, and with all
	@for feature in "" $(FEATURES); do \
	  echo "features: $${feature:-none}"; \
	  $(CARGO) clippy $(LOCKED) --lib --bins --no-default-features --features "$$feature" -- -D warnings || exit 1; \
	done
	$(CARGO) clippy $(LOCKED) --lib --bins --all-features -- -D warnings

docs: ## the documentation builds without a warning
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps --all-features

architecture: ## floors, fences and the top level
	$(CARGO) test $(LOCKED) --test architecture

# The peers' Python is prepared unless PERCEPT_BENCH_PEERS is 0, or PERCEPT_BENCH_PYTHON names one that has them;
# so is PyTorch's, unless PERCEPT_BENCH_TORCH names one.
bench: build ## the benchmarks beside their peers, printed as tables (PERCEPT_BENCH_PEERS=0: without peers)
	@echo 'percept setup pipelines/speech.yaml'; "$(TARGET_DIR)/release/percept" setup pipelines/speech.yaml
ifneq ($(PERCEPT_BENCH_PEERS),0)
ifndef PERCEPT_BENCH_PYTHON
	@bash benches/peers/prepare "$(TARGET_DIR)/peers"
endif
ifndef PERCEPT_BENCH_TORCH
	@bash benches/peers/prepare "$(TARGET_DIR)/peers/torch" training-requirements.txt || echo "training: without PyTorch beside it"
endif
endif
	$(CARGO) bench $(LOCKED) --bench links --bench speech --bench voice_gate --bench training

clean: ## remove what was built; fetched models stay in the user's cache
	$(CARGO) clean
