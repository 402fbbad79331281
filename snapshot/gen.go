package snapshot

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -go-package snapshot -type owner_row -output-stem iter iter ../bpf/iter.bpf.c -- -I../headers -O2 -Wall -Werror
