# Gureum: what can be made of it. 'make' alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

GOLANGCI_LINT_VERSION := v2.15.0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/gureum/gureum/cmd/gureum/cli.Version=$(VERSION)
# gureum begins before the Go runtime does: see cmd/gureum/entry.go.
ENTRY := -E main.entry

# What the lab, the race detector's compiler, the table and the page checks need; the
# kernel's packages are wanted by 'make kernel' and 'make verify-kernel' alone.
PACKAGES := qemu-system-x86 busybox-static cpio kmod acpica-tools gcc libc6-dev linux-libc-dev xz-utils qemu-utils e2fsprogs mtools dosfstools mmdebstrap iproute2 procps chromium fonts-dejavu-core
EMULATOR_PACKAGES := gcc libc6-dev make dpkg-dev patch ninja-build meson pkg-config python3 flex bison libglib2.0-dev libpixman-1-dev zlib1g-dev libattr1-dev libcap-ng-dev libfdt-dev
KERNEL_PACKAGES := make gcc-12 binutils libc6-dev flex bison bc perl patch libelf-dev lz4 xz-utils

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup setup-kernel
setup: ## install the Debian packages that the lab and the tests need
	@$(call install,$(PACKAGES))

setup-kernel:
	@$(call install,$(KERNEL_PACKAGES))
	@[ -n "$$(apt-cache madison linux-source-6.12)" ] || apt-get update -qq

# install NAMES: install those that are missing; asks the archive only then.
define install
missing=(); for p in $(1); do \
  dpkg-query -W -f '$${db:Status-Status}' "$$p" 2>/dev/null | grep -qx installed || missing+=("$$p"); done; \
if [ $${#missing[@]} -gt 0 ]; then echo "installing $${missing[*]}"; \
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$${missing[@]}" >/dev/null; fi
endef

.PHONY: build
build: ## build the programs into bin
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS) $(ENTRY)' -o bin/ ./cmd/gureum
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/lab ./cmd/bench ./cmd/load ./cmd/gureum-agent

.PHONY: demo
demo: setup build ## boot the embedded Linux guest to a result on the screen
	@bench/demo.sh

.PHONY: test
test: setup build ## run all tests; those that need KVM run in the lab where the host has none
	@bench/test.sh

.PHONY: lint
lint: setup bin/golangci-lint ## gofumpt, go vet, staticcheck and the house rules
	@bin/golangci-lint run ./...

bin/golangci-lint: Makefile
	@GOBIN='$(CURDIR)/bin' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@touch $@

.PHONY: lab
lab: setup build ## run CMD='...' on a host with hardware-style KVM
	@bin/lab -- sh -c '$(CMD)'

.PHONY: kernel verify-kernel userland
kernel: setup-kernel ## rebuild the embedded guest kernel from Debian's source
	@guest/linux/build.sh

verify-kernel: setup-kernel ## check that the recipe reproduces the embedded kernel bit for bit
	@guest/linux/verify.sh

userland: setup ## rebuild the embedded user land
	@go run ./guest/userland/mk

FUZZTIME ?= 60s
FUZZCOUNT ?= 0
.PHONY: fuzz
fuzz: setup ## run each fuzz target for FUZZTIME (60s), or FUZZCOUNT of them
	@bench/fuzz.sh '$(FUZZTIME)' '$(FUZZCOUNT)'

.PHONY: stock
stock: setup build ## build a Debian image and show that it runs (a quarter of an hour)
	@$(call install,iperf3 iproute2 procps)
	@bench/stock.sh

.PHONY: lab-qemu
lab-qemu: ## build the lab's emulator for its deterministic mode (some minutes, once; not where there is KVM)
	@lab/emulator/build.sh -n || { $(call install,$(EMULATOR_PACKAGES)) && lab/emulator/build.sh; }

.PHONY: bench
bench: setup build lab-qemu ## run gureum bench beside QEMU and the host (BENCH='boot --runs 9' chooses)
	@bench/bench.sh $(BENCH)

.PHONY: bench-tools
bench-tools: setup build lab-qemu ## measure disk and network in guests beside QEMU's with fio, iperf3 and ping
	@$(call install,fio iperf3)
	@bin/bench

.PHONY: bench-density
bench-density: setup build lab-qemu ## run 100 machines at a time: starts, memory, reach, removal
	@bin/bench -density 100

.PHONY: docs
docs: ## write the manual pages and shell completions to bin/
	@go run ./cmd/gureum-docs bin
