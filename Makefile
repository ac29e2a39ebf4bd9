# The only list of commands; CI calls the same targets.
# A fresh machine needs Rust (rustup), Python 3 with pip, and a C and C++ compiler; the rest is fetched into .cache/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO_DENY_VERSION := 0.20.2
TOOLS := $(CURDIR)/.cache/tools
export PATH := $(TOOLS)/bin:$(PATH)

JRAZE := target/debug/jraze
# What `make up` and `make demo` pass on, e.g. `make up ARGS=--exit`.
ARGS ?=

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 26

.PHONY: up
up: build mongod ## Set everything up, run a first campaign, keep serving until Ctrl-C (ARGS=--exit: stop after it)
	@scripts/first-campaign --jraze $(JRAZE) $(ARGS)

.PHONY: demo
demo: build mongod ## Only serve: jraze dev with sample devices
	@JRAZE_MONGOD="$${JRAZE_MONGOD:-$$(scripts/mongod fetch)}" $(JRAZE) dev $(ARGS)

.PHONY: build
build: ## Build the binary (target/debug/jraze)
	cargo build --locked --bin jraze

.PHONY: mongod
mongod: ## Find or fetch a MongoDB server
	@scripts/mongod fetch >/dev/null

.PHONY: test
test: fmt-check lint deny unit fuzz-short check-generated docs chaos-short ## Set everything up and run every check

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: fmt-check
fmt-check: ## Is the code formatted?
	cargo fmt --all --check

.PHONY: lint
lint: ## clippy over everything, warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p jraze-bench --features micro,storage --all-targets -- -D warnings

.PHONY: deny
deny: $(TOOLS)/.cargo-deny ## Licences, banned crates, sources and the import directions
	cargo deny --log-level error check --allow unused-wrapper bans licenses sources

# Installed only when missing; three minutes of compiling, kept in .cache/.
$(TOOLS)/.cargo-deny:
	@mkdir -p $(TOOLS)
	@command -v cargo-deny >/dev/null || \
	  CARGO_TARGET_DIR=$(CURDIR)/.cache/build-tools cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --root $(TOOLS)
	@rm -rf $(CURDIR)/.cache/build-tools
	@touch $@

.PHONY: unit
unit: build mongod ## Unit, property, contract and end-to-end tests on a real mongod
	@if command -v cargo-nextest >/dev/null; then \
	  scripts/mongod run -- cargo nextest run --locked --workspace --no-fail-fast; \
	else \
	  scripts/mongod run -- cargo test --locked --workspace --no-fail-fast; \
	fi

# What `make bench` measures: devices (several with commas, in turn), rounds, the latency of a provider in
# milliseconds.
DEVICES ?= 1000000
ROUNDS ?= 3
LATENCY_MS ?= 0
# With the cache that mongod would choose for itself on 24 GiB, or nearly.
BENCH = BENCH_COMMIT=$$(git rev-parse --short HEAD 2>/dev/null || echo unknown) \
  MONGOD_CACHE_GB=8 MONGOD_OPLOG_MB=1024 scripts/mongod run -- target/release/jraze-bench

.PHONY: bench-binaries
bench-binaries: mongod
	@command -v h2load >/dev/null || { echo "h2load is missing: install nghttp2-client"; exit 1; }
	cargo build --release --locked --bin jraze --bin jraze-bench

.PHONY: bench
bench: bench-binaries ## Measure whole campaigns beside h2load (nghttp2-client); writes docs/bench/, whose README says more
	@$(BENCH) campaign --devices $(DEVICES) --rounds $(ROUNDS) --latency-ms $(LATENCY_MS) $(ARGS)

.PHONY: bench-pacing
bench-pacing: bench-binaries ## Measure how FCM's quota is kept and shared (five minutes); writes docs/bench/
	@$(BENCH) pacing $(ARGS)

# A feature of its own, because it reaches into what is private in every other build.
.PHONY: bench-micro
bench-micro: ## Count the instructions of each step of a send; fails when one grew by 5 % (ARGS=--bless: keep these)
	cargo build --release --locked -p jraze-bench --features micro
	@target/release/jraze-bench micro $(ARGS)

.PHONY: bench-api
bench-api: DEVICES = 300000
bench-api: bench-binaries ## Measure imports, registrations, reads and searches beside the plain driver; writes docs/bench/
	@$(BENCH) api --devices $(DEVICES) --rounds $(ROUNDS) $(ARGS)

# A mongod of its own, which it starts again with a small cache.
.PHONY: bench-storage
bench-storage: mongod ## Measure sums, histories, counts and audiences in the database alone; writes docs/bench/
	cargo build --release --locked --features jraze-bench/storage --bin jraze --bin jraze-bench
	@BENCH_COMMIT=$$(git rev-parse --short HEAD 2>/dev/null || echo unknown) \
	  target/release/jraze-bench storage --devices $(DEVICES) --rounds $(ROUNDS) $(ARGS)

# Parse Server at a million devices would take hours.
.PHONY: bench-peers
bench-peers: DEVICES = 10000
bench-peers: bench-binaries ## Measure Parse Server and client libraries on the same work (DEVICES=100000 too); writes docs/bench/
	@bench/peers/run --devices $(DEVICES) --rounds $(ROUNDS) $(ARGS)

# Seconds that each fuzz target runs; `make test` gives each ten.
SECONDS ?= 60

.PHONY: fuzz
fuzz: ## Feed each fuzz target for SECONDS seconds (60)
	@scripts/fuzz --seconds $(SECONDS)

.PHONY: fuzz-short
fuzz-short: ## The same for ten seconds each, as CI does
	@nice scripts/fuzz --seconds 10

# jraze with named points at which it can be stopped, and the runner; then the plain jraze is put back.
.PHONY: chaos-binaries
chaos-binaries: mongod
	cargo build --locked --bin jraze --bin jraze-chaos --features jraze/failpoints
	@mkdir -p target/chaos && cp target/debug/jraze target/debug/jraze-chaos target/chaos/
	cargo build --locked --bin jraze

CHAOS = JRAZE_MONGOD="$${JRAZE_MONGOD:-$$(scripts/mongod fetch)}" target/chaos/jraze-chaos
CHAOS_COMMIT = $$(git rev-parse --short HEAD 2>/dev/null || echo unknown)

.PHONY: chaos-short
chaos-short: chaos-binaries ## kill -9 at every step of the delivery protocol, once each (two minutes)
	@rm -f target/chaos/short.jsonl
	@$(CHAOS) short --results target/chaos/short.jsonl --commit $(CHAOS_COMMIT)

.PHONY: chaos
chaos: chaos-binaries ## 1,000 faults in campaigns, then docs/proof/delivery.md (goes on where it ended; ARGS="--minutes 30")
	@$(CHAOS) long --commit $(CHAOS_COMMIT) $(ARGS)
	@$(CHAOS) report

.PHONY: schemathesis
schemathesis: build mongod ## Ask the running API what its document promises (ARGS='--examples 500' for longer)
	@scripts/schemathesis --jraze $(JRAZE) $(ARGS)

.PHONY: generate
generate: build ## Write the generated files again
	$(JRAZE) openapi > openapi/openapi.yaml.new && mv openapi/openapi.yaml.new openapi/openapi.yaml
	$(JRAZE) config reference > docs/src/configuration.md.new && mv docs/src/configuration.md.new docs/src/configuration.md
	tests/corpus/generate.py > tests/corpus/hostile.ndjson.new && mv tests/corpus/hostile.ndjson.new tests/corpus/hostile.ndjson

.PHONY: check-generated
check-generated: build ## Are the generated files current, is every dependency explained?
	@scripts/check-generated $(JRAZE)
	@scripts/check-dependencies

.PHONY: docs
docs: ## Build the book, when mdbook is installed
	@if command -v mdbook >/dev/null; then mdbook build docs; else echo "mdbook is not installed: the book is not built"; fi
