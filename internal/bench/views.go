package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// hold holds n sockets open in a namespace while f runs.
func (b *bench) hold(netns string, n int, f func() error) (err error) {
	const most = 9000 // connections of one process: two files each, of 20,000
	for first := 0; first < n/2; first += most {
		p, err := load.Start(load.Holder(first, min(most, n/2-first)), netns)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Stop()) }()
		if err := errors.Join(p.Go(), p.Done()); err != nil {
			return err
		}
	}
	return f()
}

// timed runs a command in a namespace and gives its wall time.
func timed(netns string, args ...string) (time.Duration, error) {
	// nsenter is small and execs; its start is in every figure.
	cmd := exec.Command("nsenter", append([]string{"--net=" + netns, "--"}, args...)...)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	cmd.Stdout = null
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%v: %w", args, err)
	}
	return time.Since(start), nil
}

// rival is a command of ours beside those of others.
type rival struct {
	ours   []string
	others [][]string
	budget float64 // ours / the first of others
}

// compare runs the commands in turn and gives the median of each, ours first.
func (b *bench) compare(netns string, r rival, rounds int) ([]time.Duration, error) {
	commands := append([][]string{r.ours}, r.others...)
	times := make([][]int64, len(commands))
	for range rounds {
		for i, c := range commands {
			d, err := timed(netns, c...)
			if err != nil {
				return nil, err
			}
			times[i] = append(times[i], int64(d))
		}
	}
	medians := make([]time.Duration, len(commands))
	for i := range times {
		medians[i] = time.Duration(median(times[i]))
	}
	return medians, nil
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1e3) }

func (b *bench) views() error {
	var rows [][]string
	for _, n := range b.sockets {
		err := b.inNetns(func(netns string) error {
			return b.hold(netns, n, func() error {
				for _, option := range []string{"-tan", "-tanp"} {
					r := rival{
						ours:   []string{b.program, option},
						others: [][]string{{"netstat", option}, {"ss", option}, {"cat", "/proc/net/tcp"}},
						budget: 2,
					}
					rounds := b.rounds
					switch {
					case option == "-tanp" && n >= 100000:
						r.budget, rounds = 0.05, min(rounds, 3)
					case option == "-tanp" && n >= 20000:
						r.budget, rounds = 0.1, min(rounds, 3)
					case option == "-tan" && n >= 100000:
						r.budget = 0.5
						r.others[0], r.others[1] = r.others[1], r.others[0] // beside ss
					}
					m, err := b.compare(netns, r, rounds)
					if err != nil {
						return err
					}
					ratio := m[0].Seconds() / m[1].Seconds()
					byName := map[string]time.Duration{r.others[0][0]: m[1], r.others[1][0]: m[2], "cat": m[3]}
					rows = append(rows, []string{
						strconv.Itoa(n), option, milliseconds(m[0]), milliseconds(byName["netstat"]), milliseconds(byName["ss"]), milliseconds(byName["cat"]),
						fmt.Sprintf("%.2f × %s, %s", ratio, r.others[0][0], verdict(ratio, r.budget, "")),
					})
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	table("Views of TCP sockets", []string{"sockets", "options", "nettrace", "netstat", "ss", "cat /proc/net/tcp", "ratio and budget"}, rows)
	return nil
}

// small compares the views with few rows, where starting the program is the cost.
func (b *bench) small() error {
	var rows [][]string
	err := b.inNetns(func(netns string) error {
		for _, options := range []string{"-rn", "-i", "-s", "-tan", "-xan"} {
			r := rival{ours: []string{b.program, options}, others: [][]string{{"netstat", options}}}
			m, err := b.compare(netns, r, 20*b.rounds)
			if err != nil {
				return err
			}
			ratio := m[0].Seconds() / m[1].Seconds()
			rows = append(rows, []string{
				strings.Join([]string{options}, " "), milliseconds(m[0]), milliseconds(m[1]),
				fmt.Sprintf("%.2f, %s", ratio, verdict(ratio, 2, "")),
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	table("Views with few rows (each figure has the start of nsenter in it)", []string{"options", "nettrace", "netstat", "ratio and budget"}, rows)
	return nil
}
