package main

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newRandom() *rand.PCG { return rand.NewPCG(1, 2) }

func TestProcessorTimeIsReadBehindACommandWithSpaces(t *testing.T) {
	line := "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 8 0 100"
	if got, err := parseStat([]byte(line)); err != nil || got != 1750*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", "42 (x) S 1 2 3 4 5 6 7 8 9 10 a b 0"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestOwnProcessFactsAreReadable(t *testing.T) {
	for what, read := range map[string]func() error{
		"time":    func() error { _, err := cpuTime(os.Getpid()); return err },
		"bytes":   func() error { _, err := bytesWritten(os.Getpid()); return err },
		"machine": func() error { _, err := readMachineTime(); return err },
	} {
		if err := read(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	m, err := residentMemory(os.Getpid())
	if err != nil || m.Anon <= 0 || m.File <= 0 || m.Resident < m.Anon {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestNumbersShowThreeDigitsAndGroups(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.12345: "0.123", 1.234: "1.23", 45.67: "45.7", 123.4: "123", 1234.5: "1,234", 1000000: "1,000,000",
		-200: "-200", -2000: "-2,000",
	} {
		if got := number(value); got != want {
			t.Errorf("%v reads %q, want %q", value, got, want)
		}
	}
}

func TestTheTableShowsMetAndMissedAims(t *testing.T) {
	side := func(cpu float64) block {
		return block{
			"put64": {serverCPU.name: cpu, rate.name: 10, written.name: 1},
			"start": {startTime.name: cpu},
		}
	}
	pairs := []pair{{A: side(10), B: side(40)}, {A: side(10), B: side(45)}}
	rep := report{
		A: "keelson", B: "etcd", aimed: true, keys: "7", chosen: func(string) bool { return true },
		Results: []result{{Group: "put", Pairs: pairs}, {Group: "start", Pairs: pairs}},
	}
	table := rep.table(sheetData)
	for _, want := range []string{
		"| put, 64 in flight, random keys", "10.0 µs", "42.5 µs", "4.25×", "4.00–4.50", "≥ 2: met", "≥ 5: **missed**",
		"start-up with 7 keys",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	if strings.Contains(table, "watch") && strings.Contains(table, "| watch,") {
		t.Error("a group that did not run has a row")
	}
}

func TestADocumentKeepsWhatIsOutsideTheMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	markerBegin, markerEnd := sheetData.markers()
	if err := writeDocument(path, sheetData, "one\n"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("before\n"+string(data)+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeDocument(path, sheetData, "two\n"); err != nil {
		t.Fatal(err)
	}
	data, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if !strings.HasPrefix(text, "before\n") || !strings.HasSuffix(text, "after\n") ||
		!strings.Contains(text, markerBegin+"\ntwo\n"+markerEnd) || strings.Contains(text, "one") {
		t.Errorf("the document reads\n%s", text)
	}
	for _, bad := range []string{"no markers", markerBegin, markerEnd + markerBegin} {
		if _, err := replaceRegion(bad, sheetData, "x"); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestFlagsChooseRowsAndRefuseWhatIsUnknown(t *testing.T) {
	set, err := parseFlags([]string{"-rows", "put64,start", "-quick"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !set.chooses("put64") || !set.chooses("startkill") || set.chooses("put1") || set.pairs != quickPairs {
		t.Errorf("chosen %+v", set)
	}
	for _, bad := range [][]string{{"-rows", "nothing"}, {"-rows", "put,,"}, {"-o", "xml"}, {"word"}, {"-unknown"}} {
		if _, err := parseFlags(bad, io.Discard); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestADocumentWithoutAPlaceIsRefusedBeforeAnythingRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	begin, end := sheetData.markers()
	if err := os.WriteFile(path, []byte(begin+"\n"+end+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parseFlags([]string{"-rows", "put", "-write", path}, io.Discard); err != nil {
		t.Error(err)
	}
	if _, err := parseFlags([]string{"-rows", "put,cput", "-write", path}, io.Discard); err == nil {
		t.Error("a document without a place for clusters was accepted")
	}
	if _, err := parseFlags([]string{"-rows", "cput", "-write", path + ".new"}, io.Discard); err != nil {
		t.Errorf("a document that is yet to be made was refused: %v", err)
	}
}

func TestAVersionIsTheLineThatNamesTheProduct(t *testing.T) {
	out := []byte("etcd Version: 3.7.3\nGit SHA: x\nKeelson Version: 1.2\n")
	for name, want := range map[string]string{
		"keelson": "Keelson Version: 1.2", "etcd": "etcd Version: 3.7.3", "other": "etcd Version: 3.7.3",
	} {
		if got := versionLine(out, name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestADisksSectorsAreFoundByItsNumber(t *testing.T) {
	text := "   7  0 loop0 0 0 0 0 0 0 0 0 0 0 0\n 254  0 vda 26 51 864 14 12 27 10 53 0 25 84\n"
	if got, err := parseDisks(text, 254, 0); err != nil || got != 10*sectorSize {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := parseDisks(text, 254, 1); err == nil {
		t.Error("an absent disk was found")
	}
}

func TestASheetHasItsOwnTableAndPlace(t *testing.T) {
	on := func(cpu, more float64) block {
		return block{"authget": {serverCPU.name: cpu, cpuUsersMore.name: more}}
	}
	rep := report{
		A: "keelson", B: "etcd", aimed: true, chosen: func(string) bool { return true },
		Results: []result{{Group: "auth", Pairs: []pair{{A: on(10, 4), B: on(20, 50)}, {A: on(10, 8), B: on(20, 60)}}}},
	}
	if table := rep.table(sheetData); table != "" {
		t.Errorf("a sheet without results reads\n%s", table)
	}
	table := rep.table(sheetUpkeep)
	for _, want := range []string{"2.00×", "6.00 %", "55.0 %", "4.00–8.00 %", "≤ 10.0 %: met"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	path := filepath.Join(t.TempDir(), "performance.md")
	for _, sheet := range sheets() {
		if err := writeDocument(path, sheet, "table "+string(sheet)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, sheet := range sheets() {
		begin, end := sheet.markers()
		if !strings.Contains(string(data), begin+"\ntable "+string(sheet)+"\n"+end) {
			t.Errorf("no table of sheet %q in\n%s", sheet, data)
		}
	}
}

func TestTheClusterSheetJudgesRatiosAndOwnFigures(t *testing.T) {
	on := func(cpu, times, changes float64) block {
		return block{
			"cput300":  {serverCPU.name: cpu, rate.name: 1000 / cpu},
			"slowdisk": {slowTimes.name: times, elections.name: changes},
		}
	}
	one := pair{A: on(10, 1.5, 0), B: on(24, 9, 3)}
	rep := report{
		A: "keelson", B: "etcd", aimed: true, chosen: func(string) bool { return true },
		Results: []result{{Group: "cput", Pairs: []pair{one}}, {Group: "slowdisk", Pairs: []pair{one}}},
	}
	table := rep.table(sheetCluster)
	for _, want := range []string{
		"| put, 300 clients spread over the members", "2.40×", "≥ 2.5: **missed**", "≥ 2: met",
		"1.50 ×", "≤ 2.00 ×: met", "≤ 0: met", "3 members", "all members' processes",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	if strings.Contains(table, "one member.") {
		t.Errorf("a cluster of three is called one member in\n%s", table)
	}
}

func TestABoundIsMetOnItsOwnSide(t *testing.T) {
	for _, c := range []struct {
		bound bound
		value float64
		want  string
	}{
		{bound{limit: 64}, 64, "≤ 64.0 MiB: met"},
		{bound{limit: 64}, 65, "≤ 64.0 MiB: **missed**"},
		{bound{limit: 100, least: true}, 99, "≥ 100 MiB: **missed**"},
		{bound{limit: 100, least: true}, 100, "≥ 100 MiB: met"},
	} {
		if got := c.bound.verdict(c.value, "MiB"); got != c.want {
			t.Errorf("%+v of %v: %q, want %q", c.bound, c.value, got, c.want)
		}
	}
}
