# Thin: the work is done by CMake presets and the scripts in tools/.
SHELL := /bin/bash
# As they were given: a `$` in a password is no variable of make.
override SOURCE := $(value SOURCE)
export SOURCE PORT STATE JOBS

.PHONY: help run stop test check incidents campaign build packages images test-backend test-integration bench format lint docs clients screenshots clean

help:              ## This list
	@grep -hE '^[a-z-]+: *.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

run:               ## Everything from nothing: install, build, PostgreSQL, suite, one collector (PORT= STATE= SOURCE=)
	@tools/run.sh

stop:              ## Stop what `make run` started (STATE=)
	@tools/stop.sh

test:              ## Install, build and run all tests
	@tools/test.sh

check:             ## The slow proofs: sanitizers, fuzzing, attacks, faults put back, packages and make run on a bare Debian 12 (needs root)
	@tools/check.sh

incidents:         ## More than thirty kinds of incidents on real servers, and which rule found each (SEEDS= QUIET=, some 15 minutes a seed)
	@tools/incidents.sh

campaign:          ## Delivery under faults for an hour (CAMPAIGN_MINUTES=): kills, full and failing disks, power failures, damage
	@tools/campaign.sh

build:             ## Optimised build; leaves ./pganalytics-api, ./pganalytics-collector and ./pgactl here
	@tools/build.sh release

packages:          ## Debian packages of suite, collector and pgactl in build/packages
	@tools/packages.sh

images:            ## The image of every program in build/images, without a daemon (needs root)
	@tools/images.sh

test-backend:      ## Unit tests of libraries and services
	@tools/test.sh unit

test-integration:  ## Tests with real PostgreSQL and real processes
	@tools/test.sh integration

bench:             ## Measured benchmarks, with figures and ratios
	@tools/bench.sh

format:            ## Format the C++ sources in place
	@tools/format.sh --fix

lint:              ## Format, layers, protos, waits, sizes of tests, wording
	@tools/lint.sh

docs:              ## Write docs/metrics.md from the catalog
	@tools/docs.sh

clients:           ## Clients of the REST API in Python and TypeScript, in build/clients
	@tools/clients.sh

screenshots:       ## Make the README's pictures from a real suite (some minutes)
	@tools/screenshots.sh

clean:             ## Remove build outputs; data of `make run` stays
	rm -rf build services/console/node_modules services/console/src/api/generated.ts pganalytics-api pganalytics-collector pgactl
