package sink

import (
	"os"
	"strings"
	"testing"
	"time"
)

// standard is what keys leave as it is.
var standard = Spec{Events: "close", Schema: "native", Fields: "pid", Rotate: Rotation{Size: 1 << 20, Keep: 3}}

func TestParseSpec(t *testing.T) {
	long := strings.Repeat("x", maxUnixPath)
	with := func(change func(*Spec)) Spec {
		s := standard
		change(&s)
		return s
	}
	for text, want := range map[string]Spec{
		"/var/log/n.ndjson": with(func(s *Spec) { s.Place = "/var/log/n.ndjson" }),
		"n-12:00":           with(func(s *Spec) { s.Place = "n-12:00" }),
		"./udp:a:1":         with(func(s *Spec) { s.Place = "./udp:a:1" }),
		"n=1":               with(func(s *Spec) { s.Place = "n=1" }),
		"./-":               with(func(s *Spec) { s.Place = "./-" }),
		"./tcp:a:1":         with(func(s *Spec) { s.Place = "./tcp:a:1" }),
		"-":                 with(func(s *Spec) { s.Kind = ToStdout }),
		"-,events=all":      with(func(s *Spec) { s.Kind, s.Events = ToStdout, "all" }),
		"unix:/run/n.sock":  with(func(s *Spec) { s.Kind, s.Place = ToUnix, "/run/n.sock" }),
		"unix:@abstract":    with(func(s *Spec) { s.Kind, s.Place = ToUnix, "@abstract" }),
		"unix:" + long:      with(func(s *Spec) { s.Kind, s.Place = ToUnix, long }),
		"unixgram:d":        with(func(s *Spec) { s.Kind, s.Place = ToUnixDatagram, "d" }),
		"tcp:log.example:514,schema=ecs": with(func(s *Spec) {
			s.Kind, s.Place, s.Schema = ToTCP, "log.example:514", "ecs"
		}),
		"tcp:[::1]:syslog":   with(func(s *Spec) { s.Kind, s.Place = ToTCP, "[::1]:syslog" }),
		"f,fields=a+b+c":     with(func(s *Spec) { s.Place, s.Fields = "f", "a,b,c" }),
		"f,fields=+a+b-c":    with(func(s *Spec) { s.Place, s.Fields = "f", "+a,+b,-c" }),
		"f,fields=-a":        with(func(s *Spec) { s.Place, s.Fields = "f", "-a" }),
		"f,rotate-size=0":    with(func(s *Spec) { s.Place, s.Rotate.Size = "f", 0 }),
		"f,rotate-age=24h":   with(func(s *Spec) { s.Place, s.Rotate.Age = "f", 24*time.Hour }),
		"f,rotate-age=5s":    with(func(s *Spec) { s.Place, s.Rotate.Age = "f", 5*time.Second }),
		"f,compress=gzip":    with(func(s *Spec) { s.Place, s.Rotate.Compress = "f", true }),
		"f,compress=none":    with(func(s *Spec) { s.Place = "f" }),
		"f,rotate-keep=1000": with(func(s *Spec) { s.Place, s.Rotate.Keep = "f", 1000 }),
		"f,rotate-size=8G,rotate-keep=2,events=failed": with(func(s *Spec) {
			s.Place, s.Rotate.Size, s.Rotate.Keep, s.Events = "f", 8<<30, 2, "failed"
		}),
	} {
		got, err := ParseSpec(text, &standard)
		if err != nil || got != want {
			t.Errorf("ParseSpec(%q) = %+v, %v, want %+v", text, got, err, want)
		}
		if place, _, _ := strings.Cut(text, ","); got.String() != place {
			t.Errorf("%q is shown as %q", text, got.String())
		}
	}
}

// TestParseSpecMessages checks that each message names what is wrong.
func TestParseSpecMessages(t *testing.T) {
	none := Spec{Events: "all", Schema: "native"}
	for text, want := range map[string]string{
		"":                                 "'': the place is missing: FILE, -, unix:PATH, unixgram:PATH or tcp:HOST:PORT",
		"unix:":                            "'unix:': the place is missing: FILE, -, unix:PATH, unixgram:PATH or tcp:HOST:PORT",
		",events=all":                      "'': the place is missing: FILE, -, unix:PATH, unixgram:PATH or tcp:HOST:PORT",
		"a\x00b":                           "a NUL byte stands in the place",
		"udp:log.example:514":              "'udp:log.example:514': no places are named udp:, there are unix:PATH, unixgram:PATH and tcp:HOST:PORT (a FILE of this name: ./udp:log.example:514)",
		"tcp:log.example":                  "'tcp:log.example': it takes tcp:HOST:PORT, an IPv6 address in brackets: tcp:[::1]:514",
		"tcp:::1:514":                      "'tcp:::1:514': it takes tcp:HOST:PORT, an IPv6 address in brackets: tcp:[::1]:514",
		"tcp::514":                         "'tcp::514': it takes tcp:HOST:PORT, an IPv6 address in brackets: tcp:[::1]:514",
		"tcp:a:0":                          "'tcp:a:0': a port is from 1 to 65535",
		"tcp:a:65536":                      "'tcp:a:65536': a port is from 1 to 65535",
		"unix:" + strings.Repeat("x", 108): "the path of a unix socket has at most 107 bytes, and this one 108",
		"f,event=all":                      "no key 'event', near: events",
		"f,rotat-size=1M":                  "no key 'rotat-size', near: rotate-size",
		"f,colour=red":                     "no key 'colour'; there are events, schema, fields, rotate-size, rotate-age, rotate-keep, compress (a FILE has no comma in its name)",
		"f,":                               "no key ''; there are events, schema, fields, rotate-size, rotate-age, rotate-keep, compress (a FILE has no comma in its name)",
		"f,events":                         "key 'events' needs a value: events=VALUE",
		"f,fields=":                        "key 'fields' needs a value: fields=VALUE",
		"f,events=closed":                  "key 'events' takes all, close, failed, not 'closed'",
		"f,schema=otel":                    "key 'schema' takes native, ecs, not 'otel'",
		"f,events=all,events=all":          "key 'events' stands twice",
		"f,rotate-size=1k":                 "key 'rotate-size' needs a size such as 256M, or 0 for never, not '1k'",
		"f,rotate-age=1d":                  "key 'rotate-age' needs a time of 5s or more, such as 24h, or 0 for never, not '1d'",
		"f,rotate-age=4s":                  "key 'rotate-age' needs a time of 5s or more, such as 24h, or 0 for never, not '4s'",
		"f,rotate-age=-1h":                 "key 'rotate-age' needs a time of 5s or more, such as 24h, or 0 for never, not '-1h'",
		"f,rotate-keep=0":                  "key 'rotate-keep' needs a number from 1 to 1000, not '0'",
		"f,rotate-keep=1001":               "key 'rotate-keep' needs a number from 1 to 1000, not '1001'",
		"f,rotate-keep=3":                  "key 'rotate-keep' needs rotate-size or rotate-age",
		"f,compress=gzip":                  "key 'compress' needs rotate-size or rotate-age",
		"f,rotate-size=1M,compress=zstd":   "key 'compress' takes gzip or none, not 'zstd'",
		"f,rotate-size=1M,rotate-keep=1,compress=gzip": "compression is of FILE.2 and older, as FILE.1 may still be read: it needs rotate-keep of 2 or more",
		"unix:s,rotate-size=1M":                        "key 'rotate-size' is about files, and unix:s is none",
		"-,compress=gzip":                              "key 'compress' is about files, and - is none",
	} {
		got, err := ParseSpec(text, &none)
		if err == nil || err.Error() != want {
			t.Errorf("ParseSpec(%q) = %+v, %v\n\twant: %s", text, got, err, want)
		}
	}
}

func TestDistinct(t *testing.T) {
	specs := []Spec{{Place: "a"}, {Place: "b"}, {Kind: ToUnix, Place: "a"}, {Kind: ToStdout}}
	if err := Distinct(specs); err != nil {
		t.Error(err)
	}
	here, err := os.Getwd()
	must(t, err)
	for _, other := range []string{"./a", "x/../a", here + "/a"} {
		if err := Distinct(append(specs, Spec{Place: other})); err == nil || err.Error() != here+"/a stands twice" {
			t.Errorf("a and %s: %v", other, err)
		}
	}
	err = Distinct(append(specs, Spec{Kind: ToStdout}))
	if err == nil || err.Error() != "- stands twice" {
		t.Errorf("two outputs to stdout: %v", err)
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{
		"/var/log/n,events=close,schema=ecs,fields=a+b,rotate-size=1M,rotate-age=1h,rotate-keep=2,compress=gzip",
		"tcp:[::1]:514", "unix:@", "unixgram:x,fields=-a+b", "-", "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSpec(text, &standard)
		if err != nil {
			if err.Error() == "" || s != (Spec{}) {
				t.Fatalf("ParseSpec(%q) = %+v, %q", text, s, err)
			}
			return
		}
		if again, err := ParseSpec(s.String(), &s); err != nil || again != s {
			t.Errorf("%q: %q reads as %+v, %v, want %+v", text, s.String(), again, err, s)
		}
		if s.Rotate.Size < 0 || s.Rotate.Age < 0 || s.Rotate.keep() < 1 {
			t.Errorf("%q: %+v", text, s.Rotate)
		}
	})
}
