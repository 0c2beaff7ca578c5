# cdc-relay. `make help` lists the targets; each sets up what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CDC_RELAY_CACHE ?= $(CURDIR)/.cache
export CDC_RELAY_CACHE

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)

# Linters are tools of their own: pinned, built once into the cache.
GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(CDC_RELAY_CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION)

# Tests run in a stack (Postgres, broker, registry) that is started once.
STACK := go run ./test/stack/run up --

# Most tests wait for servers, which want a processor when they start: twice as many
# tests as processors in one package, and as many packages as processors. vet is the
# business of `verify`, and nobody debugs a test binary that is linked again each time.
PARALLEL ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
GOTEST := go test -vet=off -ldflags='-s -w' -parallel $(PARALLEL)

.PHONY: help build demo demo-stop test test-short test-crash test-mutants test-contracts soak guarantees race lint bench takeover generate verify clean model audit-10m

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the binary into bin/
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/cdc-relay ./cmd/cdc-relay

demo: ## 10 000 events through real parts, with a SIGKILL in the middle (KEEP=1 leaves it running)
	go run ./test/demo $(if $(KEEP),-keep)

demo-stop: ## end a demo that was left running
	go run ./test/demo -stop

# The relay under test, without crash points and with them, built before anything runs:
# a test that needs it finds it (test/rig), and compiles nothing beside the others.
.PHONY: tested
tested:
	go build -ldflags='-s -w' -o build/tested/relay/cdc-relay ./cmd/cdc-relay
	go build -ldflags='-s -w' -tags crashpoints -o build/tested/crashpoints/cdc-relay ./cmd/cdc-relay

test: tested ## everything a newcomer should see green: unit and end-to-end tests on real parts
	$(STACK) $(GOTEST) -timeout 30m ./...

test-short: tested ## unit tests and what needs no broker of its own
	$(STACK) $(GOTEST) -short -timeout 5m ./...

test-crash: ## the fault matrix: a kill at every arrow, on real parts (RUNS=3: three times in a row); writes build/crash.json
	go run ./test/matrix/run -runs $(or $(RUNS),1)

test-mutants: ## that the matrix has teeth: relays with one clause left out must fail; writes build/mutants.json
	go run ./test/matrix/run -mutants

test-contracts: ## 100 000 random documents, a poisoned drain, 10 000 dual pairs and 10 000 keys, on real parts; writes build/contracts.json
	go run ./test/contracts/run

soak: ## one relay under load and random faults for T (T=20m), with bounds on what it holds; writes build/soak.json
	go run ./test/matrix/run -soak $(or $(T),20m)

guarantees: ## the tables of docs/guarantees.md, from the last runs in build/
	go run ./test/matrix/run -guarantees

race: tested ## the tests under the race detector
	$(STACK) $(GOTEST) -race -timeout 30m ./...

lint: $(GOLANGCI) ## linters, with the import rules
	$(GOLANGCI) run

$(GOLANGCI):
	@echo "building golangci-lint $(GOLANGCI_VERSION), once (minutes on a cold cache)"
	GOBIN=$(dir $@) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(dir $@)golangci-lint $@

audit-10m: ## `audit` on 10 million events with planted losses and duplicates, within 300 MB (10 GB of disk, minutes)
	CDC_RELAY_AUDIT_EVENTS=10000000 go test ./test/e2e/letters -run TestAuditLarge -count=1 -v -timeout 90m

bench: ## drain, latency and memory against pg_recvlogical; writes build/bench.json
	go run ./bench

takeover: ## how long a standby takes to take over, N=5 times each; writes build/takeover.json
	go test ./test/e2e/faults -run '^TestTakeover$$' -count 1 -parallel 1 -timeout 30m -v -takeovers $(or $(N),5)
model: ## the protocol in every reachable state of small worlds, and what leaving a clause out breaks; writes build/model.json
	go run ./docs/model -o build/model.json

generate: ## golden files: stories, messages, expected texts; docs/events.md
	go test ./internal/relay -run TestStories -rewrite
	go test ./internal/config ./internal/doctor -update
	go run ./cmd/cdc-relay -c examples/cluster/cdc-relay.yaml schemas docs > docs/events.md.new && mv docs/events.md.new docs/events.md

verify: ## formatting, go.mod and generated files are up to date
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "run gofmt on:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go mod verify
	go mod tidy -diff
	go vet ./...

clean: ## remove what was built (the cache of downloads stays)
	rm -rf bin build
