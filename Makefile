# Every command that a person types. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run fleet test test-arm test-avx512 test-vm test-vm-systemd test-web test-mqtt test-deb test-all soak fuzz bench-arm bench-peers choosing cross pages deb install uninstall models clean need tools

# What a build needs beside Rust: bindgen (for the crate v4l) loads libclang and reads the kernel's headers.
PACKAGES := libclang-dev gcc libc6-dev

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
	  while IFS='|' read -r name does; do printf '  make %-12s %s\n' "$$name" "$$does"; done

run: need ## build in release and run on the first camera or a rendered scene: make run ARGS="--frames 60"
	cargo build --release --bin resnetd
	target/release/resnetd run $(ARGS)

test: need tools ## format, lints, all tests and doc tests
	cargo fmt --check
	cargo clippy --all-targets --features tools -- -D warnings
	@cross/need.sh ffmpeg # a camera in tests/streams.rs
	cargo test --features tools

cross: ## build the static ARM binary, target/aarch64-unknown-linux-musl/release/resnetd
	cross/build.sh

test-arm: cross need ## run the ARM binary under QEMU and compare its output with this machine's, byte for byte
	cross/compare.sh

test-vm: cross need ## run the ARM binary in an emulated machine with cameras that come and go: make test-vm ONLY="sigterm_ends_it"
	@cross/need.sh python3
	@/usr/bin/python3 tests/vm/cameras.py $(ONLY)

test-vm-systemd: cross need ## run the service under Debian's systemd in an emulated machine, and its package, if make deb has made it
	@cross/need.sh python3
	@/usr/bin/python3 tests/vm/services.py $(ONLY)

test-web: need ## the page in a browser, its metrics in Prometheus, HTTPS before it; screenshots in target/web
	@cross/need.sh python3 chromium chromium-driver prometheus nginx-light openssl
	cargo build --features tools --bin resnetd --bin resnetd-model # as make test has built them
	/usr/bin/python3 tests/web/page.py target/debug/resnetd
	/usr/bin/python3 tests/web/teach.py target/debug/resnetd target/debug/resnetd-model
	/usr/bin/python3 tests/web/peers.py target/debug/resnetd

test-mqtt: need ## labels at a real Mosquitto that is killed, refuses, forgets; and what Home Assistant is told
	@cross/need.sh python3 python3-paho-mqtt mosquitto openssl
	cargo build --features tools --bin resnetd # as make test has built it
	/usr/bin/python3 tests/mqtt/mqtt.py target/debug/resnetd

fleet: need ## DEVICES=1000 devices publish for SECONDS=120 to three RabbitMQ nodes, one of which is killed; no change may be lost
	@cross/need.sh python3 python3-paho-mqtt rabbitmq-server
	cargo build --release --example fleet
	/usr/bin/python3 examples/fleet/fleet.py $(or $(DEVICES),1000) $(or $(SECONDS),120)

test-avx512: ## run the AVX512-VNNI kernels' tests on an emulated processor, where this one lacks it
	cross/avx512.sh

test-deb: need ## install, use, upgrade and purge the packages in a Debian of their own
	systemd/debian/test.sh

test-all: test test-arm test-vm test-web test-mqtt test-avx512 test-deb deb test-vm-systemd fuzz ## everything, also what is slow: make test-all DATA=FOLDER compares with PyTorch on photographs
	cargo clippy --all-targets -- -D warnings
	cargo test --features tools --test streams -- --ignored
	cargo test --features pages --lib -- cli::pages
	tests/peers/run.sh
	models/train/smoke.sh
	DATA=$(DATA) models/check.sh

soak: need ## the daemon under load for a while, and whether its memory and descriptors stay: make soak MINUTES=30
	cargo build --release --bin resnetd
	@cross/need.sh python3
	/usr/bin/python3 tests/soak.py target/release/resnetd --minutes $(or $(MINUTES),30)

fuzz: need ## feed every reader of foreign bytes what libFuzzer makes up, each for a while: make fuzz SECONDS=30
	@cross/need.sh g++
	fuzz/run.sh $(or $(SECONDS),30) $(TARGET)

bench-arm: cross ## instructions of one inference on Cortex-A76, A72 and with i8mm, cycles of the inner loops: make bench-arm MODEL=BUNDLE
	EMIT=asm cross/build.sh
	cross/need.sh qemu-user gcc libc6-dev python3 llvm-19
	/usr/bin/python3 benches/arm.py $(MODEL)

pages: need ## manual pages and shell completions, into target/pages
	@rm -rf target/pages
	cargo run --quiet --features pages --bin resnetd-pages -- target/pages

deb: need ## Debian packages for this machine and for arm64, into target/debian
	systemd/debian/build.sh

install: ## install what was built: make install DESTDIR= PREFIX=/usr BINARY=target/release/resnetd
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BINARY="$(BINARY)" systemd/install.sh

uninstall: ## remove it again, but for what was changed
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BINARY="$(BINARY)" systemd/install.sh uninstall

models: need ## make the default bundle anew: make models DATA=FOLDER
	DATA=$(DATA) models/build.sh

choosing: need ## measure the shipped networks and write docs/CHOOSING.md: make choosing DATA=FOLDER
	DATA=$(DATA) models/choosing/run.sh

bench-peers: need ## time other engines and ours in turn, into benches/peers.md: make bench-peers ARGS="--help"
	@cross/need.sh python3-venv
	@python3 benches/peers/bench.py $(ARGS)

clean: ## remove everything that was built
	cargo clean

need:
	@cross/need.sh $(PACKAGES)

tools:
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || \
	  { echo "make test wants rustfmt and clippy; please run: rustup component add rustfmt clippy" >&2; exit 1; }
