package ship

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/load"
)

// TestStores has stores and jq read the files of one run.
func TestStores(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "all")
	tr := traceIn(t, newNetns(t), path, path+",rotate-size=48M,rotate-keep=9")
	tr.connect(connections/3, load.RST)
	tr.connect(connections/3, load.Refused)
	tr.connect(connections/3, load.FIN)
	quiet(t, path)
	tr.stop()
	w := readWritten(t, path)
	sums := sumUp(t, w)
	t.Run("jq", func(t *testing.T) { testJQ(t, w, sums) })
	t.Run("duckdb", func(t *testing.T) { testDuckDB(t, w, sums) })
	t.Run("clickhouse", func(t *testing.T) { testClickHouse(t, w, sums) })
	t.Run("otelcol", func(t *testing.T) { testCollector(t, w) })
}

// group is what the records are summed up by.
type group struct{ event, outcome string }

// sum is what a store has to find of a group.
type sum struct {
	records, duration, segments, pids uint64
}

// sumUp sums up the records.
func sumUp(t *testing.T, w *written) map[group]sum {
	t.Helper()
	sums := make(map[group]sum)
	for _, line := range w.lines {
		var r struct {
			Event, Outcome string
			Duration       uint64 `json:"duration_ns"`
			Segments       uint64 `json:"segs_out"`
			PID            uint64
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		s := sums[group{r.Event, r.Outcome}]
		sums[group{r.Event, r.Outcome}] = sum{s.records + 1, s.duration + r.Duration, s.segments + r.Segments, s.pids + r.PID}
	}
	if got := sums[group{"tcp_close", "refused"}].records; got != connections/3 {
		t.Errorf("%d connects were refused, want %d", got, connections/3)
	}
	return sums
}

// compare compares sums that a store has found, with event and outcome first.
func compare(t *testing.T, out []byte, want map[group]sum) {
	t.Helper()
	got := make(map[group]sum)
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 6 {
			t.Fatalf("a line of %d fields: %q", len(f), line)
		}
		got[group{f[0], f[1]}] = sum{integer(t, f[2]), integer(t, f[3]), integer(t, f[4]), integer(t, f[5])}
	}
	if !maps.Equal(got, want) {
		t.Errorf("sums by event and outcome\n%v\nwant\n%v", got, want)
	}
}

func integer(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Error(err)
	}
	return n
}

// output runs a command and returns what it prints.
func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %.2000s", filepath.Base(cmd.Path), err, errs.String())
	}
	return out
}

func testJQ(t *testing.T, w *written, sums map[group]sum) {
	const program = `reduce inputs as $r ({};
  .[($r.event) + "\t" + ($r.outcome // "")] |= [.[0] + 1, .[1] + $r.duration_ns, .[2] + $r.segs_out, .[3] + $r.pid])
  | to_entries[] | [.key, (.value[] | . // 0)] | map(tostring) | join("\t")`
	compare(t, output(t, exec.Command(lookPath(t, "jq"), append([]string{"-n", "-r", program}, w.files...)...)), sums)
}

// duckTypes are the types that DuckDB finds by itself.
var duckTypes = map[string]string{
	"timestamp": "TIMESTAMP", "start": "TIMESTAMP", "seq": "BIGINT", "mono_ns": "BIGINT", "duration_ns": "BIGINT",
	"pid": "BIGINT", "local_port": "BIGINT", "run_id": "VARCHAR", "conn_id": "VARCHAR", "cgroup_id": "VARCHAR",
	"local_addr": "VARCHAR", "outcome": "VARCHAR", "hooks": "VARCHAR[]",
}

func testDuckDB(t *testing.T, w *written, sums map[group]sum) {
	node := lookPath(t, "node")
	modules := absolute(t, filepath.Join(root, ".cache/shippers/duckdb/node_modules"))
	if _, err := os.Stat(modules); err != nil {
		t.Skip("needs @duckdb/node-api: bash .ci/shippers installs it")
	}
	query := func(sql string) []byte {
		cmd := exec.Command(node, "testdata/duckdb.js", strings.ReplaceAll(sql, "FILES",
			"read_json_auto(['"+strings.Join(w.files, "','")+"'], union_by_name=true)"))
		cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
		return output(t, cmd)
	}
	got := make(map[string]string)
	for line := range bytes.Lines(query(`SELECT column_name AS name, column_type AS type FROM (DESCRIBE SELECT * FROM FILES)`)) {
		var column struct{ Name, Type string }
		if err := json.Unmarshal(line, &column); err != nil {
			t.Fatal(err)
		}
		got[column.Name] = column.Type
	}
	for name, want := range duckTypes {
		if got[name] != want {
			t.Errorf("the type of %s is %s, want %s", name, got[name], want)
		}
	}
	rows := query(`SELECT concat_ws(chr(9), event, coalesce(outcome, ''), count(*), coalesce(sum(duration_ns), 0),
		coalesce(sum(segs_out), 0), coalesce(sum(pid), 0)) AS line FROM FILES GROUP BY event, outcome`)
	var out bytes.Buffer
	for line := range bytes.Lines(rows) {
		var row struct{ Line string }
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		out.WriteString(row.Line + "\n")
	}
	compare(t, out.Bytes(), sums)
}

func testClickHouse(t *testing.T, w *written, sums map[group]sum) {
	client := startClickHouse(t)
	client(nil, readFile(t, filepath.Join(root, tablePath)))
	for range 2 { // what comes twice counts once
		for _, file := range w.files {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			client(f, `INSERT INTO nettrace.records FORMAT JSONEachRow`)
			f.Close()
		}
	}
	const events = `SELECT event, outcome, count(), sum(duration_ns), sum(segs_out), sum(pid) FROM nettrace.records FINAL GROUP BY event, outcome`
	compare(t, client(nil, events), sums)
	sameValues(t, client(nil, `SELECT * FROM nettrace.records FINAL WHERE seq % 50 = 0 OR event NOT LIKE 'tcp_%' FORMAT JSONEachRow`), w)
	for _, query := range queries(readFile(t, filepath.Join(root, "deploy/clickhouse/queries.sql"))) {
		rows := bytes.Count(client(nil, query), []byte("\n"))
		switch {
		case strings.Contains(query, "AS holes") && rows > 0:
			t.Errorf("%d runs have holes, by %s", rows, query)
		case !strings.Contains(query, "HAVING") && rows == 0: // the others look for what is rare
			t.Errorf("no answer to %s", query)
		}
	}
}

// queries returns the statements of a file.
func queries(sql string) []string {
	var list []string
	for _, q := range strings.Split(sql, ";\n") {
		if strings.Contains(q, "SELECT") {
			list = append(list, q)
		}
	}
	return list
}

// sameValues checks of some records that each member is in its column as it was.
func sameValues(t *testing.T, out []byte, w *written) {
	t.Helper()
	wrong := 0
	for line := range bytes.Lines(out) {
		row, err := decode(line)
		if err != nil {
			t.Fatal(err)
		}
		seq := integer(t, fmt.Sprint(row["seq"]))
		record, err := decode(w.lines[seq])
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range record {
			if stored, ok := row[name]; (!ok || text(stored) != text(value)) && wrong < 5 {
				wrong++
				t.Errorf("%s of record %d is %s, want %s", name, seq, text(stored), text(value))
			}
		}
	}
}

// text writes a value as ClickHouse does, which has numbers of 64 bits in quotes and 1
// for true.
func text(value any) string {
	switch v := value.(type) {
	case bool:
		if v {
			return "1"
		}
		return "0"
	case []any:
		return marshal(v)
	}
	return fmt.Sprint(value)
}

const clickHouseConfig = `<yandex>
 <logger><level>warning</level><log>DIR/log</log><errorlog>DIR/errors</errorlog></logger>
 <tcp_port>PORT</tcp_port><listen_host>127.0.0.1</listen_host>
 <path>DIR/data/</path><tmp_path>DIR/tmp/</tmp_path><user_files_path>DIR/files/</user_files_path>
 <users_config>users.xml</users_config><default_profile>default</default_profile>
 <default_database>default</default_database><mark_cache_size>5368709</mark_cache_size><timezone>UTC</timezone>
</yandex>
`

const clickHouseUsers = `<yandex><profiles><default/></profiles><quotas><default/></quotas>
 <users><default><password></password><networks><ip>127.0.0.1</ip></networks>
 <profile>default</profile><quota>default</quota></default></users></yandex>
`

// startClickHouse starts a server at a free port. The function it returns runs statements.
func startClickHouse(t *testing.T) func(in *os.File, sql string) []byte {
	t.Helper()
	path, client := lookPath(t, "clickhouse-server"), lookPath(t, "clickhouse-client")
	dir := t.TempDir()
	_, port, _ := strings.Cut(freeAddress(t), ":")
	writeFile(t, filepath.Join(dir, "config.xml"), strings.NewReplacer("DIR", dir, "PORT", port).Replace(clickHouseConfig))
	writeFile(t, filepath.Join(dir, "users.xml"), clickHouseUsers)
	server := exec.Command(path, "--config-file="+filepath.Join(dir, "config.xml"))
	server.Dir = dir
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	args := []string{"--port", port, "--input_format_skip_unknown_fields=1"}
	await(t, "ClickHouse", func() bool {
		return exec.Command(client, append(args, "--query", "SELECT 1")...).Run() == nil
	})
	return func(in *os.File, sql string) []byte {
		t.Helper()
		cmd := exec.Command(client, append(slices.Clone(args), "--multiquery", "--query", sql)...)
		if in != nil {
			cmd.Stdin = in
			cmd.Args = slices.DeleteFunc(cmd.Args, func(a string) bool { return a == "--multiquery" })
		}
		return output(t, cmd)
	}
}
