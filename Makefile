# Everything here needs only Go; `make race` needs gcc too. `make` alone prints the menu.
GO ?= go
# The product is one static binary. The race detector is the only thing that needs cgo.
export CGO_ENABLED = 0

FUZZTIME ?= 5s
RUN ?= .
# Random histories that `make compat` plays to both servers.
HISTORIES ?= 100
GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.DEFAULT_GOAL := help
.PHONY: help build run test check unit integration short race cluster bench fuzz lint proto dump clean

##@ Every day
help: ## print this menu
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build ./keelson, one static binary
	$(GO) build -trimpath -o keelson ./cmd/keelson

run: ## start a node on etcd's default addresses, data in ./default.keelson
	$(GO) run ./cmd/keelson

test: check unit integration ## everything to run before a commit: check, unit, integration

##@ Parts of it
check: ## vet and gofmt, both modules
	@bad=$$(gofmt -l cmd internal test); if [ -n "$$bad" ]; then \
		echo "not formatted, run gofmt -w on:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	cd test && $(GO) vet ./...

unit: ## tests of the rooms (RUN=pattern picks)
	$(GO) test -timeout 5m -run '$(RUN)' ./...

integration: ## started binaries, stock clients, a real etcd beside (RUN=pattern picks)
	cd test && $(GO) test -timeout 5m -run '$(RUN)' ./...

compat: ## play the stories to a real etcd, then to keelson, and random histories to both (RUN=Stories/NAME picks)
	@cd test && export RUN='$(RUN)'; failed=0; \
	echo "== a real etcd: are the written answers still its own?"; \
	KEELSON_TEST_SERVER=etcd $(GO) test -count=1 -timeout 10m -run "$$RUN" ./compat || failed=1; \
	echo "== keelson: does it answer the same?"; \
	$(GO) test -count=1 -timeout 10m -run "$$RUN" ./compat -args -histories=$(HISTORIES) || failed=1; \
	exit $$failed

short: ## tests of the rooms, the long ones shortened
	$(GO) test -short ./...

##@ Now and then
race: ## tests of the rooms under the race detector (needs gcc)
	CGO_ENABLED=1 $(GO) test -race -timeout 20m ./...

cluster: ## break clusters for long: kills, partitions, bad disks, lost members (RUN=pattern picks)
	cd test && $(GO) test -count=1 -timeout 120m -run '$(RUN)' ./cluster -args -long

bench: ## measure keelson beside a real etcd (ARGS=-quick for a first look)
	cd test && $(GO) run ./bench $(ARGS)

fuzz: ## every fuzz target for FUZZTIME (5s)
	@set -e; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' internal | xargs -n1 dirname | sort -u); do \
		for target in $$(cat $$dir/*_test.go | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
			echo "$$dir $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$dir; \
		done; \
	done

lint: ## golangci-lint, slow the first time
	$(GO) run $(GOLANGCI) run ./...
	cd test && $(GO) run $(GOLANGCI) run --config ../.golangci.yml ./...

proto: ## generate the code of the lock and election services from their .proto files
	cd test && $(GO) run ./protogen

##@ Looking inside
dump: ## print a data directory readably (DIR=default.keelson)
	$(GO) run ./cmd/keelson dump --data-dir $(or $(DIR),default.keelson)

clean: ## remove what these targets built
	rm -rf keelson bin test/bin
