// Package build says which build of the program runs.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker (-X). Where it sets nothing, what the go command knows stands.
var (
	version string
	commit  string
)

// Version returns the version: what the linker set, or that of the module where the go
// command installed it by version.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// Commit returns the commit of the source, or nothing where it is not known.
func Commit() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return revision(info.Settings)
}

// revision returns the commit that the go command noted.
func revision(settings []debug.BuildSetting) string {
	for _, s := range settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// About returns what --version prints: the version, the commit, and what compiled it for
// which machine, a line each.
func About() string {
	source := Commit()
	if source == "" {
		source = "unknown"
	}
	return fmt.Sprintf("nettrace %s\ncommit %s\n%s %s/%s\n", Version(), source, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
