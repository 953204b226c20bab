package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// input is what the sources said: every setting, the file they came from if
// any, and what the operator should hear about the sources themselves.
type input struct {
	settings settings
	file     string
	warnings []string
}

// gather lets the sources speak by etcd's precedence: a config file alone, or
// else the command line and the environment, which must not both name a flag.
func gather(args, environ []string, machine host) (*input, error) {
	line, err := readCommandLine(args)
	if err != nil {
		return nil, err
	}
	vars := readEnvironment(environ)
	file := line.settings.text("config-file")
	if file == "" {
		file = vars[envName("config-file")]
	}
	if file != "" {
		return gatherFile(file, line.given(), machine)
	}
	in := &input{settings: line.settings}
	if err := line.takeEnvironment(in, environ, vars); err != nil {
		return nil, err
	}
	return in, line.settle(in)
}

func gatherFile(path string, flags []string, machine host) (*input, error) {
	in := &input{settings: newSettings(), file: path}
	data, err := machine.readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config file: %w", err)
	}
	if err := in.fillFromFile(data); err != nil {
		return nil, fmt.Errorf("read config file %s: %w", path, err)
	}
	flags = slices.DeleteFunc(flags, func(name string) bool { return name == "config-file" })
	if len(flags) > 0 {
		in.warnings = append(in.warnings, fmt.Sprintf(
			"The settings come from the config file %s alone; ignored from the command line: --%s.", path, strings.Join(flags, ", --")))
	}
	return in, nil
}

// commandLine is a parsed command line: settings, and the flags that stand
// beside the table.
type commandLine struct {
	flags    *flag.FlagSet
	settings settings
	aliases  map[string]*setting
	legacy   map[string]*legacyFlag
}

func readCommandLine(args []string) (*commandLine, error) {
	line := &commandLine{
		flags:    flag.NewFlagSet("keelson", flag.ContinueOnError),
		settings: newSettings(),
		aliases:  map[string]*setting{},
		legacy:   map[string]*legacyFlag{},
	}
	line.flags.SetOutput(io.Discard)
	line.flags.Usage = func() {}
	for name, s := range line.settings {
		if strings.Contains(name, ".") {
			continue // only a config file has it
		}
		line.flags.Var(s, name, s.option.help)
	}
	for _, a := range aliases() {
		line.aliases[a.old] = &setting{option: &option{kind: a.kindOf(line.settings), name: a.old}}
		line.flags.Var(line.aliases[a.old], a.old, "")
	}
	for _, name := range legacyFlags() {
		line.legacy[name] = &legacyFlag{}
		line.flags.Var(line.legacy[name], name, "")
	}
	if err := line.flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, ErrHelp
	} else if err != nil {
		return nil, &UsageError{Err: err}
	}
	if line.flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a valid flag", line.flags.Arg(0))
	}
	if line.settings.bool("version") {
		return nil, ErrVersion
	}
	return line, nil
}

// given lists the flags on the command line, in alphabetical order.
func (l *commandLine) given() []string {
	var names []string
	l.flags.Visit(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

// settle folds aliases and legacy flags into the input.
func (l *commandLine) settle(in *input) error {
	for _, a := range aliases() {
		s := l.aliases[a.old]
		if !s.given {
			continue
		}
		warning, err := a.adopt(in.settings, s.value)
		if err != nil {
			return err
		}
		in.warnings = append(in.warnings, warning)
	}
	for _, name := range legacyFlags() {
		if l.legacy[name].given {
			in.warnings = append(in.warnings, fmt.Sprintf("--%s is a legacy flag of etcd and has no effect.", name))
		}
	}
	return nil
}

// envName is the environment variable of a flag.
func envName(flagName string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// readEnvironment keeps the variables of etcd that have a value. Where a name
// comes twice the first one counts, as it does for os.Getenv.
func readEnvironment(environ []string) map[string]string {
	vars := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if _, twice := vars[name]; !twice && value != "" && strings.HasPrefix(name, "ETCD_") {
			vars[name] = value
		}
	}
	return vars
}

// takeEnvironment sets the flags that the command line left open. It goes
// through the environment in its own order, so that messages are stable.
func (l *commandLine) takeEnvironment(in *input, environ []string, vars map[string]string) error {
	byEnv := map[string]*flag.Flag{}
	l.flags.VisitAll(func(f *flag.Flag) { byEnv[envName(f.Name)] = f })
	onLine := l.given()
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		value, pending := vars[name]
		if !pending {
			continue
		}
		delete(vars, name)
		f := byEnv[name]
		switch {
		case name == "ETCD_VERSION":
			// Container images set it to tell their own version.
			in.warnings = append(in.warnings, "The environment variable ETCD_VERSION does not configure anything and is ignored.")
		case name == "ETCD_UNSUPPORTED_ARCH":
			// etcd asks for it on rare architectures; here all are alike.
		case f == nil:
			in.warnings = append(in.warnings, fmt.Sprintf("The environment variable %s is not one that etcd knows and is ignored.", name))
		case slices.Contains(onLine, f.Name):
			return fmt.Errorf("conflicting environment variable is shadowed by corresponding command-line flag "+
				"(either unset environment variable or disable flag): %s and --%s", name, f.Name)
		default:
			if err := f.Value.Set(value); err != nil {
				return badValue(value, name, err)
			}
		}
	}
	return nil
}
