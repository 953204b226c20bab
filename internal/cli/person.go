package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxTyped bounds what is read of a person's answer, in bytes.
const maxTyped = 1 << 10

// person is who sits at the terminal, if anybody does.
type person struct {
	in  io.Reader
	out io.Writer
}

func (p person) there() bool {
	f, ok := p.in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm returns once the person has typed what is wanted.
func (p person) confirm(question, want string) error {
	if _, err := fmt.Fprint(p.out, question); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	typed, err := bufio.NewReader(io.LimitReader(p.in, maxTyped)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(typed) != want {
		return errors.New("nothing was changed: that was something else")
	}
	return nil
}
