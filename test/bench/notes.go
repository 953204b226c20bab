package main

import (
	"fmt"
	"slices"
	"strings"
)

// notes say what the table's reader has to know.
func (r report) notes(on sheet) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	line("Made by `%s` in the directory `test`, %s.", r.Command, r.Date.Format("2006-01-02"))
	line("Versions: %s; %s.", r.AVer, r.BVer)
	members := "one member"
	if on == sheetCluster {
		members = fmt.Sprintf("%d members, which share the machine and its disk too", clusterSize)
	}
	line("%s. Server, client and disk share this machine; plain text over loopback; %s.", r.Host, members)
	line("Each figure is the median over blocks. The ratio says how many times better %s is (cost: %s ÷ %s; "+
		"throughput: %s ÷ %s): the median over pairs of blocks run one after the other in ABBA order, beside the "+
		"least and the greatest.", r.A, r.B, r.A, r.A, r.B)
	processes := "the whole process"
	if on == sheetCluster {
		processes = "all members' processes"
	}
	line("Server CPU is user and system time of %s per operation (per event for watch) and is the "+
		"figure to trust first: the client shares the processors, which caps every throughput ratio.", processes)
	switch on {
	case sheetUpkeep:
		r.upkeepNotes(line)
	case sheetCluster:
		r.clusterNotes(line)
	default:
		r.dataNotes(line)
	}
	if other, stolen := r.disturbance(); len(other) > 0 {
		line("Other processes used %.0f %% of the machine at the median and %.0f %% at most during the blocks; "+
			"stolen time was %.1f %% at most.", 100*median(other), 100*slices.Max(other), 100*slices.Max(stolen))
	}
	return b.String()
}

// dataNotes belong to the rows about reading, writing and starting.
func (r report) dataNotes(line func(format string, args ...any)) {
	line("Keys have %d bytes, values %d incompressible ones. The load is a closed loop. Costs and bytes of puts with "+
		"many in flight include the background work until the server has stopped writing.", keySize, valueSize)
	line("Disk writes are those of the whole device, flushed before and after: only a quiet machine gives them. " +
		"write_bytes is the kernel's count for the process alone; it takes a run of cached pages for written when one " +
		"byte of it changes, which overstates a log that is overwritten in place.")
	line("The stores of the start-up and memory rows got %s single puts after loading and again before each kill -9. "+
		"Their files are in the page cache when a server starts.", number(singlePuts))
}

// upkeepNotes belong to the rows about users and about looking after a store.
func (r report) upkeepNotes(line func(format string, args ...any)) {
	line("Where no ratio stands, a product is compared with itself, and the column beside it shows the least and the "+
		"greatest figure of %s's blocks. Keys have %d bytes, values %d incompressible ones unless the row says otherwise.",
		r.A, keySize, valueSize)
	line("Users: one process runs the same closed loop with users off, on, on and off, and that again; what users cost is the "+
		"median over neighbours, which leaves out lumps of background work. The user has one role with %d ranges and "+
		"one key. A few percent of difference, either way, are within what two equal loads show.", len(appRights))
	line("Puts beside something come at a fixed rate of %s a second over %d connections. A put that could not be sent in "+
		"time, because the one before it waited, counts from when it was due. p99 on a machine whose processors are "+
		"all busy is mostly waiting for a processor, which the client needs too.", number(besidePutsPerSecond), besideConns)
	line("Logins: %s compares every password with bcrypt, which bounds its logins; it then makes as many as it "+
		"can. A first login is a user's first after the start of the process; the password has to go through bcrypt "+
		"(cost 10) at both. Logins come over %d connections, first ones over %d. Their cost is what the server used beyond its "+
		"cost of the puts alone.", r.B, loginConns, coldInFlight)
	line("The snapshot is read as fast as it comes, with the client on the same processors, from a store whose files may be "+
		"in the page cache. Memory is the peak (looked at every %v) over that at rest after the start; what the puts add to "+
		"it by themselves is shown beside. Server CPU leaves out what as many puts cost alone.", peakPoll)
	line("HashKV is asked %d times for the latest revision, with a put before each. Its processor time is counted by the "+
		"kernel in steps of %v.", hashCalls, clockTick)
	line("The compaction is a physical one: its reply says that the records are removed. Server CPU is what the server " +
		"used beyond its cost of the puts alone, until it had stopped writing; sizes are what it says of itself then.")
}

// clusterNotes belong to the rows about clusters.
func (r report) clusterNotes(line func(format string, args ...any)) {
	line("Keys have %d bytes, values %d incompressible ones unless the row says otherwise. All flags have their defaults, the "+
		"election timeout too. Where no ratio stands, a product is compared with itself, and the column beside it shows "+
		"the least and the greatest figure of %s's blocks.", keySize, valueSize, r.A)
	line("Puts of many clients: each client has a connection of its own and puts one record after the other, %d times as long "+
		"as other loads last. Costs and bytes include the background work until all members have stopped writing. Disk writes "+
		"are those of the whole device for all members. Afterwards all members have to have the same hash.", clusterLoads)
	line("Puts and reads of a fixed rate that could not be sent in time, because the one before waited, count from when they " +
		"were due. Reads and puts of a fixed rate are charged together, per second; elsewhere the cost leaves out what as " +
		"many puts cost alone.")
	line("Kill -9: puts are sent at every member every %v, whether those before were answered or not, and the time runs from "+
		"the kill to the first acknowledgement of a put that was sent after it. The figure is the median of a block's "+
		"rounds. Everything that was acknowledged has to be there at the end.", probeEvery)
	line("Slow disk: each sync of one member (fsync, fdatasync, sync_file_range, msync, sync, syncfs) is held up for %v by the "+
		"kernel on our behalf, for any program alike. %d puts a second go to the other two members over %d connections. "+
		"One that the server answers with an error counts with the time that it took.",
		slowSync, slowPutsPerSecond, slowPutConns)
	line("A new member is added as a learner and started; it has caught up when it has applied what the leader had applied, but "+
		"for %d entries. MB/s are those of keys and values. It has to hold all records itself.", joinLag)
}
