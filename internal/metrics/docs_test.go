package metrics

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const page = "../../docs/metrics.md"

// blocks returns the code of a language in the page.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, found := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		all = append(all, found[1])
	}
	if len(all) == 0 {
		t.Fatalf("no %s in %s", language, page)
	}
	return all
}

// TestPage checks that the page describes each family, with its type and labels, and
// that its queries and alerts name no others.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	all := told(t)
	described := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(nettrace_\\w+)` \\| (\\w+) \\| ([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		described[row[1]] = row[2] + " " + strings.TrimSpace(strings.NewReplacer("`", "", ",", "").Replace(row[3]))
	}
	families := regexp.MustCompile(`(?m)^# TYPE (\w+) (\w+)$`).FindAllStringSubmatch(all, -1)
	for _, f := range families {
		if want := f[2] + " " + strings.Join(labelsOf(all, f[1]), " "); described[f[1]] != want {
			t.Errorf("%s is %q, the page says %q", f[1], want, described[f[1]])
		}
		delete(described, f[1])
	}
	for name := range described {
		t.Errorf("%s is described and not told", name)
	}
	for _, name := range regexp.MustCompile(`nettrace_\w+`).FindAllString(strings.Join(append(blocks(t, "promql"), blocks(t, "yaml")...), ""), -1) {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if !slices.ContainsFunc(families, func(f []string) bool { return f[1] == name || f[1] == base && f[2] == histograms }) {
			t.Errorf("%s is asked for and not told", name)
		}
	}
}

// labelsOf returns the names of the labels of a family, but for le.
func labelsOf(all, family string) []string {
	sample := regexp.MustCompile(`(?m)^` + family + `\{(.*)\}`).FindStringSubmatch(all)
	if sample == nil {
		return nil
	}
	var names []string
	for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(sample[1], -1) {
		names = append(names, l[1])
	}
	return names
}

// TestAlerts has Prometheus' own checker judge the alerts and the queries of the page.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool, package prometheus: ", err)
	}
	rules := "groups:\n  - name: queries\n    rules:\n"
	for i, query := range regexp.MustCompile(`(?m)\n\n`).Split(strings.TrimSpace(strings.Join(blocks(t, "promql"), "\n\n")), -1) {
		rules += "      - record: query" + string(rune('a'+i)) + "\n        expr: |\n          " + strings.ReplaceAll(query, "\n", "\n          ") + "\n"
	}
	for i, text := range append(blocks(t, "yaml"), rules) {
		if !strings.HasPrefix(text, "groups:") {
			continue
		}
		path := filepath.Join(t.TempDir(), "rules.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(promtool, "check", "rules", path).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "SUCCESS") {
			t.Errorf("block %d: %v: %s", i, err, out)
		}
	}
}
