package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	// firstNet and lastNet bound the third byte of the networks that tests use, in the range for benchmarks, 198.18.0.0/15.
	firstNet, lastNet = 1, 250
	// commandLimit bounds one command that sets up a network.
	commandLimit = 10 * time.Second
)

// Net is a network of namespaces, one for each member, joined by a bridge that stands in a namespace of its own. What a
// direction loses there is lost as on a wire, below TCP. Everything ends with the processes that hold the namespaces,
// so nothing stays behind even when the test is killed.
type Net struct {
	hub    *Proc   // holds the bridge's namespace
	places []*Proc // hold the members' namespaces, by place
	subnet int
}

// NewNet builds a network; where that is not allowed, the test is skipped.
func NewNet(t testing.TB) *Net {
	t.Helper()
	for _, tool := range []string{"ip", "tc", "nsenter", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("NOT TESTED HERE: a network of namespaces needs %s: %v", tool, err)
		}
	}
	n := &Net{}
	var err error
	if n.hub, err = holdNamespace(t); err != nil {
		t.Skipf("NOT TESTED HERE: a network of namespaces needs root: %v", err)
	}
	if err := n.build(); err != nil {
		t.Skipf("NOT TESTED HERE: the network of namespaces cannot be built: %v", err)
	}
	return n
}

// holdNamespace starts a process that does nothing in a network namespace of its own.
func holdNamespace(t testing.TB) (*Proc, error) {
	t.Helper()
	p, err := startProc(procSpec{path: "unshare", args: []string{"--net", "sleep", "infinity"}, env: cleanEnv(), dir: t.TempDir()})
	if err != nil {
		return nil, err
	}
	t.Cleanup(p.End)
	// The namespace is there when it is no longer the test's own.
	err = Poll(commandLimit, func() error {
		if p.Exited() {
			return nil
		}
		return differs(p.Pid())
	})
	if err == nil && p.Exited() {
		err = fmt.Errorf("unshare: %s", p.Err.Tail(200))
	}
	return p, err
}

// differs says whether a process has left the test's network namespace.
func differs(pid int) error {
	out, err := command("readlink", "/proc/self/ns/net", fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	if names := strings.Fields(out); len(names) == 2 && names[0] != names[1] {
		return nil
	}
	return errors.New("the process is still in the namespace of the test")
}

// build makes the bridge and joins the test's own namespace to it.
func (n *Net) build() error {
	hub := fmt.Sprint(n.hub.Pid())
	if err := inNamespace(n.hub, "ip link add br0 type bridge", "ip link set br0 up"); err != nil {
		return err
	}
	outer := "kt" + hub
	if _, err := command("ip", "link", "add", outer, "type", "veth", "peer", "name", "up0", "netns", hub); err != nil {
		return err
	}
	if err := inNamespace(n.hub, "ip link set up0 master br0", "ip link set up0 up"); err != nil {
		return err
	}
	taken, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for n.subnet = firstNet; n.subnet <= lastNet && strings.Contains(fmt.Sprint(taken), n.addr(254)+"/"); n.subnet++ {
		continue
	}
	if _, err := command("ip", "addr", "add", n.addr(254)+"/24", "dev", outer); err != nil {
		return err
	}
	_, err = command("ip", "link", "set", outer, "up")
	return err
}

func (n *Net) addr(host int) string { return fmt.Sprintf("198.18.%d.%d", n.subnet, host) }

// join makes a namespace for the member of a place and has it listen there.
func (n *Net) join(t testing.TB, place int, opt *Options) {
	t.Helper()
	holder, err := holdNamespace(t)
	if err != nil {
		t.Fatal(err)
	}
	n.places = append(n.places, holder)
	port := fmt.Sprintf("p%d", place)
	err = inNamespace(n.hub,
		fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d", port, holder.Pid()),
		fmt.Sprintf("ip link set %s master br0", port), fmt.Sprintf("ip link set %s up", port))
	if err == nil {
		err = inNamespace(holder, "ip link set lo up", fmt.Sprintf("ip addr add %s/24 dev eth0", n.addr(place+1)),
			"ip link set eth0 up", "tc qdisc add dev eth0 clsact")
	}
	if err != nil {
		t.Fatal(err)
	}
	opt.ClientAddr, opt.PeerAddr = n.addr(place+1)+":2379", n.addr(place+1)+":2380"
	opt.Prefix = append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", holder.Pid())}, opt.Prefix...)
}

// Lose makes the network lose a part, from 0 to 1, of the packets that one member sends to others; it replaces what was
// asked for this member before. No other means no loss.
func (n *Net) Lose(t testing.TB, from int, part float64, to ...int) {
	t.Helper()
	// There may be none to delete.
	_ = inNamespace(n.places[from], "tc filter del dev eth0 egress")
	var commands []string
	for _, place := range to {
		commands = append(commands, "tc filter add dev eth0 egress bpf da bytecode "+lossProgram(net.ParseIP(n.addr(place+1)), part))
	}
	if err := inNamespace(n.places[from], commands...); err != nil {
		t.Fatal(err)
	}
}

// lossProgram is a packet filter that drops a part of what goes to one address. It is written in the kernel's classic
// instructions, because this needs no compiler: operation, jump if true, jump if false, operand.
func lossProgram(to net.IP, part float64) string {
	const (
		destination = 30         // where the address stands, behind Ethernet's header and in IPv4's, in bytes
		random      = 0xfffff038 // the place at which the kernel hands out a random number
		drop, pass  = 2, 0xffffffff
	)
	four := to.To4()
	address := uint32(four[0])<<24 | uint32(four[1])<<16 | uint32(four[2])<<8 | uint32(four[3])
	keepFrom := uint64(part * float64(1<<32))
	if keepFrom > 0xffffffff {
		return fmt.Sprintf("4,32 0 0 %d,21 0 1 %d,6 0 0 %d,6 0 0 %d", destination, address, drop, uint32(pass))
	}
	return fmt.Sprintf("6,32 0 0 %d,21 0 3 %d,32 0 0 %d,53 1 0 %d,6 0 0 %d,6 0 0 %d",
		destination, address, uint32(random), keepFrom, drop, uint32(pass))
}

// inNamespace runs commands where a process is.
func inNamespace(holder *Proc, commands ...string) error {
	for _, line := range commands {
		words := append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", holder.Pid())}, split(line)...)
		if _, err := command("nsenter", words...); err != nil {
			return err
		}
	}
	return nil
}

// split cuts a command at its blanks; a packet filter, which comes last and has blanks itself, stays whole.
func split(line string) []string {
	head, filter, found := strings.Cut(line, " bytecode ")
	words := strings.Fields(head)
	if found {
		words = append(words, "bytecode", filter)
	}
	return words
}

func command(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return string(out), nil
}
