# Zonesigner. `make` lists what there is.

# Any Go from 1.21 on fetches the one that go.mod asks for.
export GOTOOLCHAIN := auto

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.0
DEPS     := testdata/scripts/deps.sh
# A version in the program, unless git refuses to look at this tree.
VCS      := $(shell git rev-parse HEAD >/dev/null 2>&1 || echo -buildvcs=false)

# Seconds of fuzzing in all, within `make test` and on its own.
FUZZ_SHORT ?= 90
FUZZ_LONG  ?= 3600
# Names in the zone of `make bench`, and the zones that are signed with keys in files.
NAMES ?= 100000
SIGN  ?= host:100000,tld:100000
# Domains of its list for measure and zdns.
DOMAINS ?= 100000

.PHONY: help build demo test race fuzz bench lint check soak vet fmt

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the program, to bin/zonesignerd
	go build $(VCS) -o bin/ ./zonesignerd

demo: build ## three operators on this machine, from nothing to a signed zone, a dispute and an outage (KEEP=1: all runs on)
	@$(DEPS) demo
	@go build $(VCS) -o bin/ ./zonesignerd/internal/demo
	@bin/demo -bin bin/zonesignerd $(if $(KEEP),-keep)

test: vet fmt ## everything that must hold, in some minutes: vet, gofmt, a little fuzzing, all tests
	@$(DEPS) test
	testdata/scripts/fuzz.sh $(FUZZ_SHORT)
	go test -timeout 20m ./...

# saferith computes in one goroutine, and under the detector takes ten times as long.
race: ## all tests with the race detector
	@$(DEPS) race
	go test -race -gcflags=github.com/cronokirby/saferith=-race=false -timeout 30m ./...

fuzz: ## every fuzz target, for FUZZ_LONG seconds in all (an hour)
	testdata/scripts/fuzz.sh $(FUZZ_LONG)

bench: build ## the whole way beside other signers, with NAMES names (100000), measure beside zdns, with DOMAINS domains (100000), and each package's own
	@$(DEPS) test
	go run ./zonesignerd/internal/bench -bin bin/zonesignerd -names $(NAMES) -sign "$(SIGN)" -verify
	cd measure/bench && go build -o ../../bin/zdns github.com/zmap/zdns && go run . -zdns ../../bin/zdns -zonesignerd ../../bin/zonesignerd -names $(DOMAINS) -iterative
	go test -run '^$$' -bench . -timeout 1h ./...

soak: ## what takes long: many zones, at rest and at work; a million domains measured in bounded memory
	@$(DEPS) test
	go test -tags soak -run Soak -count 1 -v -timeout 2h ./...

lint: ## golangci-lint, in the version that is pinned here
	go run $(GOLANGCI) run ./...

check: test race lint ## what must be green before a change lands

vet:
	go vet ./...

fmt:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	test -z "$$unformatted" || { echo "not as gofmt writes it:"; echo "$$unformatted"; exit 1; }
