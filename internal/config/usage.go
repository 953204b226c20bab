package config

import (
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"go.etcd.io/etcd/api/v3/version"
)

// UsageText is the short text for stderr after a wrong command line and for --help.
func UsageText(binaryName string) string {
	name := filepath.Base(binaryName)
	return fmt.Sprintf(`Usage:
  %[1]s [flags]              start a member
  %[1]s --config-file FILE   start a member with the settings of a file
  %[1]s --version            print the version
  %[1]s --help               print all flags

Flags may have one dash or two. Each can also come from the environment: --data-dir is ETCD_DATA_DIR.

`, name)
}

// FlagsText is the list of all flags for --help.
func FlagsText() string {
	var b strings.Builder
	for _, section := range table() {
		fmt.Fprintf(&b, "%s:\n", section.title)
		for i := range section.options {
			writeFlagText(&b, &section.options[i])
		}
		b.WriteByte('\n')
	}
	b.WriteString("Marks: [no effect] taken for compatibility and without effect, [not built] refused when switched on,\n" +
		"[Keelson's own] unknown to etcd.\n")
	return b.String()
}

func writeFlagText(b *strings.Builder, o *option) {
	mark := ""
	switch o.class {
	case accepted:
		mark = " [no effect]"
	case unbuilt:
		mark = " [not built]"
	case ours:
		mark = " [Keelson's own]"
	}
	fmt.Fprintf(b, "  --%s '%s'\n      %s%s\n", o.name, o.def, o.help, mark)
}

// APIVersion is the version of etcd whose API is served, as Status and /version report it.
func APIVersion() string { return version.Version }

// ProductVersion is Keelson's own version, or "dev" for a build without one.
func ProductVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}

// VersionText is the answer to --version: etcd's four lines, because scripts
// read them, and our own after them.
func VersionText() string {
	return fmt.Sprintf("etcd Version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s/%s\nKeelson Version: %s\n",
		version.Version, gitSHA(), runtime.Version(), runtime.GOOS, runtime.GOARCH, ProductVersion())
}

// gitSHA is the commit of this build, shortened as etcd does.
func gitSHA() string {
	const shortened = 9
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) > shortened {
				return s.Value[:shortened]
			}
		}
	}
	return "unknown"
}
