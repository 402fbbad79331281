package tracer

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -go-package tracer -type event_kind -type tells -type count -type event_head -type event -type owner_event -type close_flag -type close_event -type process_event -type mini_ref -type refresh_args -type exe_event -type file_event -type request_event -type caller -type life_flag -type life -type life_event -type dropped_event -type whoami_row -type wanted_field -type port_bits -output-stem stream stream ../bpf/stream.bpf.c -- -I../headers -O2 -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -go-package tracer -output-stem closes closes ../bpf/closes.bpf.c -- -I../headers -O2 -Wall -Werror
