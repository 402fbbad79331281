# `make V=1 TARGET` prints the commands.

export CGO_ENABLED = 0

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  = $(shell git rev-parse HEAD 2>/dev/null)
BUILD   = github.com/nettrace/nettrace/internal/build
SUDO    = $(if $(filter-out 0,$(shell id -u)),sudo)

# Tools, each version in a directory of its own. Of nfpm it is the last one whose modules
# the Go module proxy has all of.
NFPM        = .cache/nfpm@v2.45.2/nfpm
GOLANGCI    = .cache/golangci-lint@v2.15.0/golangci-lint
STATICCHECK = .cache/staticcheck@v0.8.2/staticcheck

# What the tests of texts and packages ask.
PACKAGE_TOOLS = debootstrap=debootstrap rpm=rpm lintian=lintian mandoc=mandoc groff=groff fish=fish zsh=zsh man=man-db systemd-analyze=systemd logrotate=logrotate

C_FILES = $(wildcard bpf/*.[ch] headers/*.[ch])

ARGS      =
TESTFLAGS = -count=1 -timeout=30m
FUZZ      = ^Fuzz
FUZZTIME  = 20s

Q   = $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-9s %s\n' $(1) '$(2)')

.PHONY: all package run test generate lint format test-kernels bench fuzz clean

all: # build a static bin/nettrace; needs Go alone
	$(call say,BUILD,bin/nettrace)
	$(Q)go build -trimpath -buildvcs=false -tags urfave_cli_no_docs -ldflags '-s -w -X $(BUILD).version=$(VERSION) -X $(BUILD).commit=$(COMMIT)' -o bin/nettrace ./cmd/nettrace

package: $(NFPM) # deb and rpm, for amd64 and arm64, in bin/packages
	$(call say,PACKAGE,bin/packages)
	$(Q)VERSION='$(VERSION)' deploy/packages/build $(NFPM) bin/packages $(ARGS)

run: all # build and stream
	$(Q)$(SUDO) bin/nettrace -c $(ARGS)

# Tests of these packages load the machine, or look at all of it: one package at a time.
ALONE = cmd/nettrace deploy/packages internal/service internal/ship internal/view output/sink snapshot tracer

test: # all tests that this machine and user can run
	$(Q)bash .ci/need -o netstat=net-tools ip=iproute2 cpio=cpio $(PACKAGE_TOOLS)
	$(call say,TEST,./...)
	$(Q)go test $(TESTFLAGS) $$(go list ./... | grep -vE '/($(subst $() ,|,$(ALONE)))$$'); others=$$?; \
		go test -p 1 $(TESTFLAGS) $(ALONE:%=./%) && exit $$others

generate: # compile the BPF programs
	$(Q)bash .ci/need clang-14=clang-14 llvm-strip-14=llvm-14 /usr/include/bpf/bpf_helpers.h=libbpf-dev
	$(call say,GENERATE,./...)
	$(Q)go generate ./...

lint: $(GOLANGCI) $(STATICCHECK) # pinned versions
	$(Q)bash .ci/need clang-format-14=clang-format-14
	$(call say,LINT,Go)
	$(Q)$(GOLANGCI) run ./...
	$(Q)$(STATICCHECK) ./...
	$(call say,LINT,C)
	$(Q)clang-format-14 --dry-run -Werror $(C_FILES)

format: $(GOLANGCI) # what lint would ask for
	$(Q)bash .ci/need clang-format-14=clang-format-14
	$(Q)$(GOLANGCI) fmt ./...
	$(Q)clang-format-14 -i $(C_FILES)

$(GOLANGCI): MODULE = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(STATICCHECK): MODULE = honnef.co/go/tools/cmd/staticcheck
$(NFPM): MODULE = github.com/goreleaser/nfpm/v2/cmd/nfpm
$(GOLANGCI) $(STATICCHECK) $(NFPM):
	$(call say,INSTALL,$(notdir $(@D)))
	$(Q)GOBIN=$(CURDIR)/$(@D) go install $(MODULE)@$(lastword $(subst @, ,$(@D)))

test-kernels: # the tests on other kernels; ARGS='-brief', '-kernels 6.1 -run REGEXP -v ./tracer'
	$(Q)bash .ci/need qemu-system-x86_64=qemu-system-x86 busybox=busybox-static xz=xz-utils netstat=net-tools ip=iproute2 /lib/systemd/systemd=systemd
	$(call say,KERNELS)
	$(Q)go run ./internal/vmtest $(ARGS)

bench: all # speed beside that of other tools; ARGS='-quick', '-million', '-h'
	$(Q)bash .ci/need tcpstates=libbpf-tools netstat=net-tools ip=iproute2 ss=iproute2
	$(call say,BENCH)
	$(Q)go build -o .cache/bench ./internal/bench
	$(Q)$(SUDO) .cache/bench $(ARGS)

fuzz: # FUZZ='^FuzzEvent' FUZZTIME=20s
	$(Q)bash .ci/fuzz '$(FUZZ)' $(FUZZTIME)

clean:
	$(Q)rm -rf bin .cache
