package output

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/tracer/table"
)

const ecsPage = "../docs/ecs.md"

// The table of names is what the writer does.
func TestECSPageNamesWhatIsWritten(t *testing.T) {
	page, err := os.ReadFile(ecsPage)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ((?:`[a-z@_.]+`(?:, )?)+) \\|")
	said := map[string][]string{}
	for _, match := range row.FindAllSubmatch(page, -1) {
		if strings.Contains(string(match[2]), ".") || string(match[1]) == "timestamp" { // the other table has words
			said[string(match[1])] = strings.Split(strings.ReplaceAll(string(match[2]), "`", ""), ", ")
		}
	}
	written := map[string][]string{
		"timestamp": {"@timestamp"}, "v": {"ecs.version"}, "event": {"event.action"}, "seq": {"event.sequence"},
	}
	for _, field := range RecordFields(ChangeRecords, SocketChangeRecords) {
		if names := ECSMembers(field); len(names) > 0 && !slices.Equal(names, []string{"nettrace." + field}) {
			written[field] = names
		}
	}
	if diff := cmp.Diff(written, said); diff != "" {
		t.Errorf("-written +page:\n%s", diff)
	}
}

// The example is a line that is written.
func TestECSPageExample(t *testing.T) {
	page, err := os.ReadFile(ecsPage)
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	var out bytes.Buffer
	w := newECSWriter(&out, NDJSONOptions{})
	w.Change(&table.Change{
		Kind: table.ChangeClose, Time: noonMono + 157_810_000, Conn: outgoing(),
		Close: &table.Closed{
			Outcome: table.Finished, ClosedBy: table.Local, HasStats: true,
			BytesSent: 457, BytesReceived: 19149, BytesRetrans: 40, SegsOut: 12, SegsIn: 14, Retrans: 1, RTT: 210, MinRTT: 180,
		},
	})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(example, "\n", ""); got != strings.TrimSpace(out.String()) {
		t.Errorf("the page has\n%s\nwritten is\n%s", got, out.String())
	}
}
