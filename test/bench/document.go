package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// The markers enclose the part of a document that the benchmark owns.
const (
	markerBegin = "<!-- bench:begin -->"
	markerEnd   = "<!-- bench:end -->"
)

// writeDocument replaces the part of a document between the markers. A document that does not exist yet
// begins with a title and that part alone.
func writeDocument(path, text string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte("# Performance\n\n" + markerBegin + "\n" + markerEnd + "\n")
	} else if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	changed, err := replaceRegion(string(old), text)
	if err != nil {
		return fmt.Errorf("change %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}

// replaceRegion puts text between the markers.
func replaceRegion(document, text string) (string, error) {
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
