package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// markers enclose the part of a document that the benchmark writes a sheet to.
func (s sheet) markers() (begin, end string) {
	name := "bench"
	if s != sheetData {
		name += ":" + string(s)
	}
	return "<!-- " + name + ":begin -->", "<!-- " + name + ":end -->"
}

// writeDocument replaces the part of a document between the markers of a sheet. A document that does not exist yet
// begins with a title and the parts of all sheets alone.
func writeDocument(path string, on sheet, text string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := "# Performance\n"
		for _, s := range sheets() {
			begin, end := s.markers()
			fresh += "\n" + begin + "\n" + end + "\n"
		}
		old = []byte(fresh)
	} else if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	changed, err := replaceRegion(string(old), on, text)
	if err != nil {
		return fmt.Errorf("change %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}

// checkDocument makes sure that a document has a place for every sheet with a chosen row, before anything is measured.
func checkDocument(path string, o options) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	for _, g := range groups() {
		if !g.chosen(o) {
			continue
		}
		if _, err := replaceRegion(string(text), g.sheet, ""); err != nil {
			return fmt.Errorf("change %s: %w", path, err)
		}
	}
	return nil
}

// replaceRegion puts text between the markers of a sheet.
func replaceRegion(document string, on sheet, text string) (string, error) {
	markerBegin, markerEnd := on.markers()
	before, rest, found := strings.Cut(document, markerBegin)
	if !found {
		return "", fmt.Errorf("it has no line %q; add it and %q where the table shall stand", markerBegin, markerEnd)
	}
	_, after, found := strings.Cut(rest, markerEnd)
	if !found {
		return "", fmt.Errorf("it has %q but no %q behind it", markerBegin, markerEnd)
	}
	return before + markerBegin + "\n" + strings.TrimRight(text, "\n") + "\n" + markerEnd + after, nil
}
