package ship

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard is a Grafana dashboard, as far as it asks Prometheus.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
		GridPos struct{ X, Y, W, H int }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(root, "deploy/grafana/dashboard.json"))), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestAlerts has promtool check the alert rules and what they say of made-up series.
func TestAlerts(t *testing.T) {
	promtool := lookPath(t, "promtool")
	dir := filepath.Join(root, "deploy/grafana")
	output(t, exec.Command(promtool, "check", "rules", filepath.Join(dir, "alerts.yaml")))
	output(t, exec.Command(promtool, "test", "rules", filepath.Join(dir, "alerts_test.yaml")))
}

// TestDashboard has promtool check each query of the dashboard, and checks that no two
// panels lie upon each other.
func TestDashboard(t *testing.T) {
	promtool := lookPath(t, "promtool")
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	taken := make(map[[2]int]string)
	queries := 0
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			queries++
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(target.Expr)
			fmt.Fprintf(&rules, "  - record: dashboard:query:%d\n    expr: %q\n", queries, expr)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%q lies upon %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if queries < 15 {
		t.Errorf("the dashboard has %d queries", queries)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	writeFile(t, path, rules.String())
	output(t, exec.Command(promtool, "check", "rules", path))
}

var metricName = regexp.MustCompile(`nettrace_[a-z_]+`)

// asked returns the names of the metrics that the dashboard and the alert rules ask for.
func asked(t *testing.T) []string {
	t.Helper()
	names := make(map[string]bool)
	add := func(text string) {
		for _, name := range metricName.FindAllString(text, -1) {
			names[name] = true
		}
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			add(target.Expr)
		}
	}
	for line := range strings.Lines(readFile(t, filepath.Join(root, "deploy/grafana/alerts.yaml"))) {
		add(line)
	}
	return slices.Sorted(maps.Keys(names))
}
