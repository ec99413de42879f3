# One command proves the project: make test. It needs Go, Node 20 or later and make; the rest it installs.

.PHONY: test build bench prepare lint test-go fuzz test-node test-browser test-nextjs test-chaos test-cluster clean

# Every part runs even when an earlier one failed; the parts are named again at the end.
test:
	scripts/test

build:
	go build -o bin/supabridge ./cmd/supabridge

# Takes the figures of docs/benchmarks.md anew: an hour on a quiet machine. SCALE=small shows in a few minutes that it works.
SCALE ?= full
bench:
	scripts/prepare node nextjs
	npm --prefix testdata/nextjs run build --silent
	go run ./testdata/bench/document -scale $(SCALE)

# The npm packages of the tests, Chromium for those in a browser, Redis and nginx.
prepare:
	scripts/prepare node nextjs browser redis nginx postgres

lint:
	scripts/lint gofmt vet staticcheck golangci
	scripts/lint govulncheck || [ $$? -eq 75 ]

test-go:
	go test -race -parallel 8 ./...

# FUZZTIME is spent on each target: a number of inputs (2000x by default) or a time.
fuzz:
	scripts/fuzz

test-node: build
	scripts/prepare node
	cd testdata/node && npm test --silent

test-browser: build
	scripts/prepare node browser
	cd testdata/node && npm run test-browser --silent

# SCREENSHOTS names a folder for pictures of it, such as $(CURDIR)/docs/screenshots.
test-nextjs: build
	scripts/prepare node nextjs browser
	cd testdata/nextjs && npm run build --silent && npm test --silent

# Breaks everything between the database and fifty browsers for a minute, by a schedule whose seed it prints; then looks whether the same test sees losses in
# a bridge that makes up for nothing.
test-chaos: build
	scripts/prepare node
	go run ./testdata/chaos -bin $(CURDIR)/bin/supabridge -duration 60s
	go run ./testdata/chaos -bin $(CURDIR)/bin/supabridge -duration 20s -no-repair

# Stops and kills the nodes of a cluster under 300 clients, in an order whose seed it prints, and takes Redis away meanwhile; then in the other ways to set a cluster up,
# at once. LOGS names a folder for what happened to each.
test-cluster: build
	scripts/prepare node redis nginx
	cd testdata/node && REDIS_OUTAGE=1 npm run cluster-chaos --silent
	cd testdata/node && MODE=streams SETTINGS=CLUSTER_CHANGES=leader npm run cluster-chaos --silent

clean:
	rm -rf bin testdata/node/node_modules testdata/nextjs/node_modules testdata/nextjs/.next testdata/nextjs/next-env.d.ts
