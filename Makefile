# What can be done with this repository: make help

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# -buildvcs=false: the version comes from above, and builds do not depend on who owns the clone.
GOFLAGS_BUILD := -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"
# Where programs are built.
BIN ?= bin
# The agent loads libvirt's library when it runs; it needs cgo, and no headers.
TAGS := libvirt_dlopen
# With Go's own resolver only the agent has any C in it: the others come out static as without cgo, and what all of them share is compiled once.
BUILD := CGO_ENABLED=1 go build $(GOFLAGS_BUILD) -tags $(TAGS),netgo,osusergo -o $(BIN)/
TOOLS := build/tools
GOLANGCI := $(TOOLS)/golangci-lint
GOLANGCI_VERSION := v2.15.0
GOTESTSUM := $(TOOLS)/gotestsum
GOTESTSUM_VERSION := v1.13.0
PACKAGES := ./...

.PHONY: help
help: ## say what can be done (default)
	@echo 'make TARGET, where TARGET is one of:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: up
up: ## bring up a cloud on this server, with a virtual machine that speaks (as root)
	@deploy/single/up

.PHONY: down
down: ## remove everything that `make up` has made, and nothing else (as root)
	@deploy/single/down

.PHONY: build
build: ## build bin/coloa, bin/coloa-controller and bin/coloa-agent
	$(BUILD) ./cmd/coloa ./cmd/coloa-controller ./cmd/coloa-agent

.PHONY: build-static
build-static: # the programs that need no C compiler
	$(BUILD) ./cmd/coloa ./cmd/coloa-controller

.PHONY: images
images: ## build the guest images tiny and debian-12 into build/images (as root)
	deploy/images/build tiny debian-12

.PHONY: test
test: ## everything: build, lint, and all tests with the real libvirt and qemu (as root)
	@.ci/test

.PHONY: test-unit
test-unit: ## only the tests that need no root and no libvirt
	go test -race -tags $(TAGS) $$(go list $(PACKAGES) | grep -vE '/(agent/hypervisor/libvirt|deploy/)')

.PHONY: bench
bench: ## run the benchmarks
	go test -run '^$$' -bench . -benchmem -tags $(TAGS) -p 1 $(PACKAGES)

.PHONY: lint
lint: vet $(GOLANGCI) ## go vet, golangci-lint, gofmt, shellcheck
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	  [[ -z $$unformatted ]] || { echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; }
	$(GOLANGCI) run $(PACKAGES)
	shellcheck -x -a $$(.ci/scripts)

.PHONY: vet
vet: ## go vet
	go vet -tags $(TAGS) $(PACKAGES)

.PHONY: fmt
fmt: ## format the Go code
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: generate
generate: ## make generated files anew (the OpenAPI document)
	go generate $(PACKAGES)

.PHONY: clean
clean: ## remove bin/ and build/ (programs, images, tools)
	rm -rf --one-file-system bin build

.PHONY: tools
tools: $(GOLANGCI) $(GOTESTSUM)

$(GOLANGCI): Makefile
	GOBIN=$(CURDIR)/$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@touch $@

$(GOTESTSUM): Makefile
	GOBIN=$(CURDIR)/$(TOOLS) go install gotest.tools/gotestsum@$(GOTESTSUM_VERSION)
	@touch $@
