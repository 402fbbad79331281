package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestSchemaBoundsNumbers checks the rule for numbers: the schema gives each its
// range, and only the definitions that say so pass 2^53 - 1.
func TestSchemaBoundsNumbers(t *testing.T) {
	checkSchemaNumbers(t, schemaFile, map[string]string{"/$defs/uint64": "18446744073709551615", "/$defs/counter": "18446744073709551615"})
}

// checkSchemaNumbers checks that a schema gives each number its range. Those of large,
// and no other ones, pass 2^53 - 1, up to a bound.
func checkSchemaNumbers(t *testing.T, file string, large map[string]string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&schema); err != nil {
		t.Fatal(err)
	}
	numbers := 0
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch node := node.(type) {
		case map[string]any:
			if node["type"] == "number" {
				t.Errorf("%s may be a fraction", path)
			}
			if node["type"] == "integer" {
				numbers++
				checkBounds(t, path, node, large[path])
			}
			for key, child := range node {
				walk(path+"/"+key, child)
			}
		case []any:
			for i, child := range node {
				walk(fmt.Sprint(path, "/", i), child)
			}
		}
	}
	walk("", schema)
	if numbers < 15 {
		t.Errorf("%d numbers in the schema", numbers)
	}
}

// checkBounds checks the range of a number, which is exact in doubles unless it may be
// as large as most.
func checkBounds(t *testing.T, path string, node map[string]any, most string) {
	t.Helper()
	bound := big.NewInt(exactMax)
	if most != "" {
		bound.SetString(most, 10)
	}
	for _, name := range []string{"minimum", "maximum"} {
		limit, ok := node[name].(json.Number)
		n, isInt := new(big.Int).SetString(limit.String(), 10)
		if !ok || !isInt || n.CmpAbs(bound) > 0 {
			t.Errorf("%s has %s %v", path, name, node[name])
		}
	}
}

// words are the strings that stand for something.
var words = map[string]string{
	"Transports": "udp", "Closes": "kernel",
	"Stage": "ringbuf", "Mode": "bpf", "Reason": "start", "Protocol": "tcp",
}

// extremes are where numbers wrap, or are no longer exact.
var extremes = []uint64{
	0, 1, math.MaxInt16, math.MaxUint16, math.MaxInt32, 1 << 31, math.MaxUint32, 1 << 32,
	exactMax, exactMax + 2, math.MaxInt64, 1 << 63, math.MaxUint64 - 1, math.MaxUint64,
}

// fill gives every field of a value something extreme, as far as its type reaches,
// and collects the numbers.
func fill(t *rapid.T, name string, v reflect.Value, numbers map[string]bool) {
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(addrs().Draw(t, name)))
		return
	case netip.AddrPort:
		a := addrPorts().Draw(t, name)
		numbers[fmt.Sprint(a.Port())] = true
		v.Set(reflect.ValueOf(a))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.1/8")))
		return
	case snapshot.State:
		v.Set(reflect.ValueOf(states().Draw(t, name)))
		return
	case syscall.Errno:
		v.Set(reflect.ValueOf(unix.ECONNRESET))
		return
	case table.SocketChangeKind:
		v.SetUint(rapid.Uint64Range(0, uint64(table.SocketChangeKinds)-1).Draw(t, name))
		return
	case table.SocketReason:
		v.SetUint(rapid.Uint64Range(0, uint64(table.ReasonKernel)).Draw(t, name))
		return
	}
	if name == "PID" {
		v.SetInt(1 << 22) // PID_MAX_LIMIT of include/linux/threads.h
		numbers[fmt.Sprint(1<<22)] = true
		return
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rapid.SampledFrom(extremes).Draw(t, name)) >> (64 - v.Type().Bits()))
		numbers[fmt.Sprint(v.Int())] = true
		numbers[fmt.Sprint(uint32(v.Int()))] = true // of a kernel's unsigned number
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n := rapid.SampledFrom(extremes).Draw(t, name) & (math.MaxUint64 >> (64 - v.Type().Bits()))
		v.SetUint(n)
		numbers[fmt.Sprint(n)] = true
		numbers[fmt.Sprint(int64(n))] = true // of a counter that is negative
		if n <= math.MaxUint32 {
			numbers[fmt.Sprint(int32(n))] = true // of a queue
		}
		if n <= ticksMax {
			numbers[fmt.Sprint(n*10)] = true
		}
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.String:
		v.SetString("x" + words[name])
		if word := words[name]; word != "" {
			v.SetString(word)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, name, v.Index(0), numbers)
	case reflect.Array:
		for i := range v.Len() {
			fill(t, name, v.Index(i), numbers)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, name, v.Elem(), numbers)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Type().Field(i).Name, v.Field(i), numbers)
			}
		}
		if s, is := v.Addr().Interface().(*table.Socket); is {
			settleSocket(t, s)
		}
	default:
		t.Fatalf("%s: no values for a %v", name, v.Type())
	}
}

// derived are the numbers that no field holds, or of which ours are never negative.
var derived = []string{"v", "seq", "event.sequence", "event.duration", "duration_ns", "established_ns", "prefix_len", "ip_protocol", "rows", "took_ns", "added", "removed", "changed"}

// TestNumbersOfEveryRecord fills what each method of the writers takes with extreme
// numbers: each line keeps the schema, whose ranges TestSchemaBoundsNumbers checks,
// and each number in it is one that was filled in.
func TestNumbersOfEveryRecord(t *testing.T) {
	var out bytes.Buffer
	wall := fixedClock(noonMono, noon)
	for _, w := range []interface{ Flush() error }{
		NewNDJSON(&out, NDJSONOptions{}, wall), NewECS(&out, NDJSONOptions{}, wall), NewRowRecords(&out, NDJSONOptions{}),
	} {
		check := checkLines
		if _, is := w.(*ECS); is {
			check = checkECSLines
		}
		methods := 0
		for i := range reflect.TypeOf(w).NumMethod() {
			name := reflect.TypeOf(w).Method(i).Name
			if slices.Contains([]string{"Flush", "Full", "Buffered", "SetClock", "Summary"}, name) { // the names in a summary are not free
				continue
			}
			methods++
			t.Run(name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					numbers := callFilled(t, reflect.ValueOf(w).Method(i))
					if err := w.Flush(); err != nil {
						t.Fatal(err)
					}
					check(t, out.Bytes())
					checkNumbers(t, out.Bytes(), numbers)
					out.Reset()
				})
			})
		}
		if methods < 8 {
			t.Errorf("%T: %d kinds of record", w, methods)
		}
	}
}

// callFilled calls a method with arguments that are filled, and returns the numbers.
func callFilled(t *rapid.T, method reflect.Value) map[string]bool {
	numbers := map[string]bool{}
	var args []reflect.Value
	for i := range method.Type().NumIn() {
		arg := reflect.New(method.Type().In(i)).Elem()
		switch arg.Interface().(type) {
		case time.Time:
			arg.Set(reflect.ValueOf(noon))
		case *snapshot.Owners:
		case string:
			arg.SetString("signal")
		default:
			fill(t, "argument", arg, numbers)
		}
		args = append(args, arg)
	}
	method.Call(args)
	return numbers
}

func checkNumbers(t *rapid.T, lines []byte, numbers map[string]bool) {
	for _, record := range decodeNumbers(t, lines) {
		for key, value := range record {
			n, ok := value.(json.Number)
			if ok && !slices.Contains(derived, strings.TrimPrefix(key, "nettrace.")) && !numbers[n.String()] {
				t.Errorf("%s is %s, which is none of its record's numbers", key, n)
			}
			if ok && strings.ContainsAny(n.String(), ".eE") {
				t.Errorf("%s is %s", key, n)
			}
		}
	}
}
