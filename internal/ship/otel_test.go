package ship

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The shape of OTLP's JSON (opentelemetry/proto/logs/v1/logs.proto), as far as records
// need it.
type (
	otlpLogs struct {
		ResourceLogs []otlpResource `json:"resourceLogs"`
	}
	otlpResource struct {
		ScopeLogs []otlpScope `json:"scopeLogs"`
	}
	otlpScope struct {
		LogRecords []otlpRecord `json:"logRecords"`
	}
	otlpRecord struct {
		Time       string          `json:"timeUnixNano"`
		EventName  string          `json:"eventName"`
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String *string      `json:"stringValue,omitempty"`
		Int    *json.Number `json:"intValue,omitempty"`
		Bool   *bool        `json:"boolValue,omitempty"`
		Array  *otlpArray   `json:"arrayValue,omitempty"`
	}
	otlpArray struct {
		Values []otlpValue `json:"values"`
	}
)

// otlpOf makes a log record of a record: an attribute of each member, of the same type.
func otlpOf(record map[string]any) (otlpRecord, error) {
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(record["timestamp"]))
	r := otlpRecord{Time: fmt.Sprint(at.UnixNano()), EventName: fmt.Sprintf("nettrace.%v", record["event"])}
	for name, value := range record {
		r.Attributes = append(r.Attributes, otlpAttribute{name, otlpValueOf(value)})
	}
	return r, err
}

func otlpValueOf(value any) otlpValue {
	switch v := value.(type) {
	case json.Number:
		return otlpValue{Int: &v}
	case bool:
		return otlpValue{Bool: &v}
	case []any:
		a := new(otlpArray)
		for _, item := range v {
			a.Values = append(a.Values, otlpValueOf(item))
		}
		return otlpValue{Array: a}
	}
	s := fmt.Sprint(value)
	return otlpValue{String: &s}
}

// record makes the record again.
func (r otlpRecord) record() map[string]any {
	record := make(map[string]any)
	for _, a := range r.Attributes {
		record[a.Key] = a.Value.value()
	}
	return record
}

func (v otlpValue) value() any {
	switch {
	case v.Int != nil:
		return *v.Int
	case v.Bool != nil:
		return *v.Bool
	case v.Array != nil:
		list := []any{}
		for _, item := range v.Array.Values {
			list = append(list, item.value())
		}
		return list
	case v.String != nil:
		return *v.String
	}
	return nil
}

// filelog is the OpenTelemetry Collector that follows a file. What it sends on is taken
// by a server, which writes it to a file as other shippers do.
var filelog = shipper{name: "otelcol", recipe: "otelcol-filelog.yaml", start: startFilelog}

func startFilelog(t *testing.T, dir, recipe string) *exec.Cmd {
	path := lookPath(t, "otelcol")
	out, err := os.Create(filepath.Join(dir, "out.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	url := serveOTLP(t, func(r otlpRecord) error {
		_, err := out.WriteString(marshal(r.record()) + "\n")
		return err
	})
	writeFile(t, recipe, strings.ReplaceAll(readFile(t, recipe), "http://127.0.0.1:4319", url))
	return exec.Command(path, "--config", recipe)
}

// testCollector sends records to the OpenTelemetry Collector and takes what it sends on.
func testCollector(t *testing.T, w *written) {
	collector := lookPath(t, "otelcol")
	lines := w.inOrder()
	sample := &written{lines: make(map[uint64][]byte)}
	for i := range min(len(lines), connections) {
		sample.lines[uint64(i)+1] = lines[i]
	}
	diff := newComparison(sample)
	var came atomic.Int64
	url := serveOTLP(t, func(r otlpRecord) error {
		diff.record(r.record(), shipper{})
		came.Add(1)
		return nil
	})
	in := freeAddress(t)
	startCollector(t, collector, in, strings.TrimPrefix(url, "http://"))
	for first := 0; first < len(sample.lines); first += 1000 {
		post(t, "http://"+in+"/v1/logs", lines[first:min(first+1000, len(sample.lines))])
	}
	await(t, "the records from the collector", func() bool { return int(came.Load()) >= len(sample.lines) })
	diff.report(t, "otelcol")
}

// startCollector runs the recipe with other addresses.
func startCollector(t *testing.T, path, in, out string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "otelcol.yaml")
	writeFile(t, config, strings.NewReplacer("127.0.0.1:4318", in, "127.0.0.1:4319", out).
		Replace(readFile(t, filepath.Join(root, "deploy/shippers/otelcol.yaml"))))
	var log bytes.Buffer
	cmd := exec.Command(path, "--config", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the collector says: %.3000s", log.String())
		}
	})
	await(t, "the collector", func() bool {
		c, err := net.Dial("tcp", in)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func post(t *testing.T, url string, lines [][]byte) {
	t.Helper()
	scope := otlpScope{}
	for _, line := range lines {
		record, err := decode(line)
		if err != nil {
			t.Fatal(err)
		}
		r, err := otlpOf(record)
		if err != nil {
			t.Fatal(err)
		}
		scope.LogRecords = append(scope.LogRecords, r)
	}
	body := marshal(otlpLogs{[]otlpResource{{[]otlpScope{scope}}}})
	answer, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(answer.Body)
		t.Fatalf("the collector answers %s: %.500s", answer.Status, b)
	}
}

// serveOTLP takes what the collector sends, one request after the other, and returns where.
func serveOTLP(t *testing.T, each func(otlpRecord) error) (url string) {
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if err := takeOTLP(r, each); err != nil {
			t.Error(err)
			answer.WriteHeader(http.StatusBadRequest)
			return
		}
		answer.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(answer, "{}")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func takeOTLP(r *http.Request, each func(otlpRecord) error) error {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = z
	}
	var logs otlpLogs
	if err := json.NewDecoder(body).Decode(&logs); err != nil {
		return err
	}
	for _, resource := range logs.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			for _, record := range scope.LogRecords {
				if err := each(record); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
