# promptd. `make` lists the targets. One profile, one feature set, one RUSTFLAGS everywhere, so that llama.cpp is compiled
# once; set CARGO_TARGET_DIR to share the build between checkouts.

SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
PROMPTD := $(TARGET)/release/promptd
MODEL := $(TARGET)/models/SmolLM2-135M-Instruct.Q4_1.gguf
# In F16; the same model in Q8_0 stands beside it.
EMBEDDER := $(TARGET)/models/all-MiniLM-L6-v2.F16.gguf
PROMTOOL := $(TARGET)/promtool
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2

# To boot machines.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# As debian/rules does.
ifeq ($(shell uname -m),aarch64)
export CMAKE_C_COMPILER_LAUNCHER := $(CURDIR)/packaging/arm-march.sh
export CMAKE_CXX_COMPILER_LAUNCHER := $(CMAKE_C_COMPILER_LAUNCHER)
endif

# Leaves the picture of a terminal.
TOP_TEST := top_fleet::two_hundred_nodes_chatter_and_keys_are_answered

export PROMPTD_TEST_MODEL := $(MODEL)
export PROMPTD_TEST_EMBEDDER := $(EMBEDDER)
export PROMPTD_TEST_PROMTOOL := $(PROMTOOL)

.DEFAULT_GOAL := help
.PHONY: api chaos conformance conformance-clients fuzz help deps build vulkan model model-embed promtool demo page screenshot test lint unit deny packaging-test deb arm64 vmtest bench bench-tasks bench-peers clean-links

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

deps: ## Install the Debian packages that building and testing need
	@tests/tools/deps.sh

build: deps clean-links ## Build target/release/promptd
	$(CARGO) build --release --locked

api: build ## Write the contract of the interface, config/api/v1, anew
	"$(PROMPTD)" schema --dir config/api/v1

vulkan: deps ## Build the Vulkan back end, and install the software driver that tests run it on
	@packaging/backends/vulkan.sh --software-driver "$(TARGET)"

model: deps ## Fetch the test model and check its SHA-256
	@tests/tools/model.sh "$(MODEL)"

model-embed: deps ## Make the encoders for tests and check their SHA-256
	@tests/tools/model_embed.sh "$(TARGET)/models"
	@tests/tools/model_ner.sh "$(TARGET)/models"

promtool: deps ## Fetch promtool, which checks metrics and alert rules in tests
	@tests/tools/promtool.sh "$(PROMTOOL)"

conformance-clients: deps ## Make the Python environment with paho-mqtt for the conformance test
	@tests/conformance/setup.sh "$(TARGET)/conformance"

demo: build model ## Start a broker and promptd on loopback, ask one question, show the answer
	@tests/tools/demo.sh "$(PROMPTD)" "$(MODEL)"

page: build model ## Show the status page in a headless browser and check it; leaves target/page.png
	@tests/tools/page.sh "$(PROMPTD)" "$(MODEL)" "$(TARGET)/page.png"

screenshot: build model ## Make the picture of `promptd top` for the README, from a terminal with 200 simulated nodes
	$(CARGO) test --release --locked --test e2e -- --exact $(TOP_TEST)
	cp "$(TARGET)/tmp/top.svg" packaging/monitoring/top.svg

# In this order: a package must be there before the tests of packaging and of booted machines.
test: deps clean-links model model-embed vulkan lint unit fuzz page deny deb packaging-test vmtest ## Everything that proves the project

lint: deps clean-links
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/fuzz/Cargo.toml
	$(CARGO) clippy --release --locked --all-targets -- -D warnings
	bash -n tests/*/*.sh packaging/*.sh packaging/*/*.sh

# Engine tests use both cores of a small machine by themselves.
unit: deps clean-links model model-embed promtool vulkan conformance-clients
	$(CARGO) test --release --locked -- --test-threads=2

conformance: deps clean-links model model-embed conformance-clients ## Ask a node everything that the interface promises, as plain clients do
	$(CARGO) test --release --locked --test e2e -- conformance:: --nocapture

chaos: deps clean-links model ## Kill daemon, engine and broker and cut the link two hundred times at random under load, as root: each job must end once
	PROMPTD_CHAOS_KILLS=$(or $(KILLS),200) $(CARGO) test --release --locked --test e2e -- chaos:: --nocapture

fuzz: deps ## Feed mutated requests and model files to what reads them: RUNS requests, 100000 without it, and a tenth of it files
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz@$(FUZZ_VERSION)
	@tests/tools/fuzz.sh "$(TARGET)" "$(or $(RUNS),100000)"

deny: deps ## Check licences and advisories of the dependencies
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny@$(DENY_VERSION)
	@tests/tools/deny.sh

packaging-test: build model ## Check what packaging/ has for operators of a fleet
	@tests/packaging/deps.sh
	shellcheck .ci/run packaging/*.sh packaging/*/*.sh tests/tools/*.sh tests/packaging/*.sh tests/conformance/*.sh tests/peers/*.sh tests/vm/*.sh
	tests/packaging/apt.sh $(wildcard $(TARGET)/deb/*.deb)
	tests/packaging/fleet.sh "$(PROMPTD)" "$(MODEL)" "$(TARGET)/ansible"

deb: deps clean-links ## Build the Debian packages into target/deb
	@packaging/deb.sh "$(TARGET)"

vmtest: deb model ## Install the package on booted Debian machines (nspawn and QEMU) and prove it there, as root
	@$(SUDO) tests/vm/run.sh "$(TARGET)" "$(MODEL)"

arm64: deps ## Build the Debian package for arm64 on amd64, into target/arm64/deb
	@packaging/arm64.sh "$(TARGET)"

bench: build model ## Measure the engine, what MQTT adds, and what sensors and journal cost, on this machine
	@tests/tools/bench.sh "$(PROMPTD)" "$(MODEL)"
	$(CARGO) bench --locked --bench sensors
	$(CARGO) bench --locked --bench journal

bench-tasks: build model model-embed ## Measure every task of a node over MQTT, one by one and batched
	@tests/tools/bench_tasks.sh "$(PROMPTD)" "$(MODEL)" "$(TARGET)/models"

bench-peers: build model ## Measure promptd side by side with llama.cpp's own tools and a Python bridge
	tests/peers/setup.sh "$(TARGET)/peers"
	"$(TARGET)/peers/venv/bin/python" tests/peers/compare.py --promptd "$(PROMPTD)" --model "$(MODEL)" --peers "$(TARGET)/peers"

# llama-cpp-sys-2's build script panics on links that a build broken off half-way left dangling.
clean-links:
	@find "$(TARGET)/release" -maxdepth 2 -name 'lib*.so' -xtype l -delete 2>/dev/null || true
