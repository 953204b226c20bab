package main

import (
	"time"
)

// settleQuiet is how long a server must write nothing to count as settled.
const settleQuiet = 500 * time.Millisecond

// settleLimit bounds the wait for background work after a load.
const settleLimit = 10 * time.Second

// meter reads the counters of servers, of this client and of the machine at the start of a measurement. The members
// of a cluster are counted together.
type meter struct {
	servers     []*server
	began       time.Time
	serverCPU   time.Duration
	clientCPU   time.Duration
	written     int64
	machineTime machineTime
}

// usage is what was used between the start of a meter and its reading.
type usage struct {
	wall      time.Duration
	serverCPU time.Duration
	clientCPU time.Duration
	written   int64
	// other is the share of the machine that neither server nor client used, stolen the share the machine
	// did not get: both say how far a block can be trusted.
	other, stolen float64
}

func startMeter(servers ...*server) (*meter, error) {
	m := &meter{servers: servers, began: time.Now(), clientCPU: ownCPUTime()}
	for _, s := range servers {
		spent, err := cpuTime(s.pid())
		if err != nil {
			return nil, err
		}
		m.serverCPU += spent
	}
	var err error
	if m.written, err = writtenBy(servers); err != nil {
		return nil, err
	}
	m.machineTime, err = readMachineTime()
	return m, err
}

// writtenBy adds up what servers caused to be written.
func writtenBy(servers []*server) (int64, error) {
	var sum int64
	for _, s := range servers {
		n, err := bytesWritten(s.pid())
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (m *meter) read() (usage, error) {
	end, err := startMeter(m.servers...)
	if err != nil {
		return usage{}, err
	}
	u := usage{
		wall:      end.began.Sub(m.began),
		serverCPU: end.serverCPU - m.serverCPU,
		clientCPU: end.clientCPU - m.clientCPU,
		written:   end.written - m.written,
	}
	if all := end.machineTime.all - m.machineTime.all; all > 0 {
		busy := end.machineTime.busy - m.machineTime.busy
		u.other = max(0, float64(busy-u.serverCPU-u.clientCPU)/float64(all))
		u.stolen = float64(end.machineTime.stolen-m.machineTime.stolen) / float64(all)
	}
	return u, nil
}

// settle waits until the server has written nothing for a while.
func (s *server) settle() error { return settle([]*server{s}) }

// settle waits until no server has written anything for a while.
func settle(servers []*server) error {
	limit := time.Now().Add(settleLimit)
	last, err := writtenBy(servers)
	if err != nil {
		return err
	}
	for quiet := time.Now(); time.Since(quiet) < settleQuiet && time.Now().Before(limit); {
		time.Sleep(settleQuiet / 10)
		now, err := writtenBy(servers)
		if err != nil {
			return err
		}
		if now != last {
			last, quiet = now, time.Now()
		}
	}
	return nil
}

// measurement is what a load did and what it cost.
type measurement struct {
	tally    *tally
	loadTime time.Duration
	used     usage
	// disk is what the data's device wrote meanwhile, absent where the device has no count of its own.
	disk    int64
	hasDisk bool
}

// measureLoad runs one load on each of so many fresh connections. With settles, the background work that
// follows belongs to the cost.
func measureLoad(s *server, conns int, settles bool, loadOf func(began time.Time) load) (measurement, error) {
	return measureSpread([]*server{s}, []*server{s}, conns, settles, loadOf)
}

// measureSpread runs one load on each of so many fresh connections, which it deals out to some servers, and counts
// what it costs all of them that belong together.
func measureSpread(
	at, costs []*server, conns int, settles bool, loadOf func(began time.Time) load,
) (measurement, error) {
	open, err := connectOver(at, conns)
	if err != nil {
		return measurement{}, err
	}
	defer closeAll(open)
	var before int64
	done := measurement{}
	if settles {
		before, err = diskWritten(costs[0].dir) // members share a disk
		done.hasDisk = err == nil
	}
	m, err := startMeter(costs...)
	if err != nil {
		return measurement{}, err
	}
	began := time.Now()
	if done.tally, err = runAll(open, func() load { return loadOf(began) }); err != nil {
		return measurement{}, err
	}
	done.loadTime = time.Since(began)
	if settles {
		if err := settle(costs); err != nil {
			return measurement{}, err
		}
	}
	if done.used, err = m.read(); err != nil || !done.hasDisk {
		return done, err
	}
	after, err := diskWritten(costs[0].dir)
	done.disk = after - before
	return done, err
}

// merge adds another measurement of the same kind to this one.
func (m *measurement) merge(other measurement) {
	if m.tally == nil {
		*m = other
		return
	}
	m.tally.merge(other.tally)
	m.loadTime += other.loadTime
	m.used = m.used.plus(other.used)
	m.disk += other.disk
	m.hasDisk = m.hasDisk && other.hasDisk
}

// plus adds what was used in another time. The shares of the machine are weighted by time.
func (u usage) plus(other usage) usage {
	wall := u.wall + other.wall
	share := func(a, b float64) float64 {
		if wall == 0 {
			return 0
		}
		return (a*u.wall.Seconds() + b*other.wall.Seconds()) / wall.Seconds()
	}
	return usage{
		wall:      wall,
		serverCPU: u.serverCPU + other.serverCPU,
		clientCPU: u.clientCPU + other.clientCPU,
		written:   u.written + other.written,
		other:     share(u.other, other.other),
		stolen:    share(u.stolen, other.stolen),
	}
}

// figures gives the measurement per operation. The rate is taken over the load alone.
func (m measurement) figures() figures {
	n := float64(m.tally.calls)
	if n == 0 {
		return figures{}
	}
	f := figures{
		serverCPU.name: micros(m.used.serverCPU) / n,
		clientCPU.name: micros(m.used.clientCPU) / n,
		rate.name:      n / m.loadTime.Seconds(),
		p50.name:       micros(m.tally.latency.percentile(0.50)),
		p99.name:       micros(m.tally.latency.percentile(0.99)),
		written.name:   float64(m.used.written) / n,
		operations:     n,
		otherShare:     m.used.other,
		stolenShare:    m.used.stolen,
	}
	if m.hasDisk {
		f[diskBytes.name] = float64(m.disk) / n
	}
	return f
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
