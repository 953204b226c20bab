//go:build !linux

package harness

import (
	"errors"
	"testing"
)

func (d *Disk) mount(testing.TB, string) error { return errors.New("only Linux is tried") }
