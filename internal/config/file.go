package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// MaxConfigFileBytes is the largest config file in bytes.
const MaxConfigFileBytes = 1 << 20

// ErrConfigFileTooLarge refuses a config file above MaxConfigFileBytes.
var ErrConfigFileTooLarge = fmt.Errorf("the config file is larger than %d bytes", MaxConfigFileBytes)

func readConfigFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxConfigFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxConfigFileBytes {
		return nil, ErrConfigFileTooLarge
	}
	return data, nil
}

// fillFromFile sets what a YAML or JSON file says. Unknown keys are ignored,
// as etcd ignores them, and so is a key without a value.
func (in *input) fillFromFile(data []byte) error {
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return err
	}
	root, ok := document.(map[string]any)
	if !ok && document != nil {
		return errors.New("expected keys and values")
	}
	for _, section := range table() {
		for i := range section.options {
			if err := in.fillOption(root, &section.options[i]); err != nil {
				return err
			}
		}
	}
	for _, o := range fileOnly() {
		if err := in.fillOption(root, &o); err != nil {
			return err
		}
	}
	return in.fillAliases(root)
}

func (in *input) fillOption(root map[string]any, o *option) error {
	path := o.filePath()
	if path == "" {
		return nil
	}
	found, err := lookUp(root, path)
	if err != nil || found == nil {
		return err
	}
	value, err := fileText(o.kind, found)
	if err != nil {
		return fmt.Errorf("key %s: %w", path, err)
	}
	s := in.settings[o.name]
	switch o.kind {
	case urls, urlsOrNone, list, origins, gates, clusterState:
		if value == "" {
			return nil
		}
	}
	if err := s.Set(value); err != nil {
		switch o.kind {
		case clusterState:
			return fmt.Errorf("unexpected clusterState %q", value)
		case urls, urlsOrNone:
			return fmt.Errorf("unexpected error setting up %s: %w", o.name, err)
		case gates:
			return err
		}
		return badValue(value, "key "+path, err)
	}
	return nil
}

func (in *input) fillAliases(root map[string]any) error {
	for _, a := range aliases() {
		found := root[a.old]
		if found == nil {
			continue
		}
		value, err := fileText(a.kindOf(in.settings), found)
		if err != nil {
			return fmt.Errorf("key %s: %w", a.old, err)
		}
		warning, err := a.adopt(in.settings, value)
		if err != nil {
			return err
		}
		in.warnings = append(in.warnings, warning)
	}
	return nil
}

// lookUp follows a dotted path through nested keys; nothing there gives nil.
func lookUp(root map[string]any, path string) (any, error) {
	var found any = root
	walked := ""
	for _, key := range strings.Split(path, ".") {
		level, ok := found.(map[string]any)
		if found != nil && !ok {
			return nil, fmt.Errorf("invalid %s: expected keys and values below it", walked)
		}
		found = level[key]
		walked = strings.TrimPrefix(walked+"."+key, ".")
	}
	return found, nil
}

// fileText turns a file's value into the text that the flag would carry.
func fileText(k kind, value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		if k != period {
			return v.String(), nil
		}
		nanoseconds, err := v.Int64()
		if err != nil {
			return "", fmt.Errorf("expected whole nanoseconds, got %s", v)
		}
		return time.Duration(nanoseconds).String(), nil
	case []any:
		if k != list && k != urls && k != urlsOrNone && k != origins {
			return "", errors.New("expected one value, got a list")
		}
		parts := make([]string, 0, len(v))
		for _, item := range v {
			part, err := fileText(text, item)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("expected one value, got something else")
}
