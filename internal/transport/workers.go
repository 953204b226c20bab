package transport

import "sync"

// maxIdleWorkers is how many goroutines wait for calls. Theirs have grown their stacks already, which is worth
// some percent of the processor time of a short call; more of them than are under way at once do not help.
const maxIdleWorkers = 64

// workers are the goroutines of calls. The one that has rested least is taken first, because its stack is still in the
// processor's cache.
type workers struct {
	mu      sync.Mutex
	idle    []chan *call // each is read by one worker
	stopped bool
	running sync.WaitGroup // calls under way
}

// run serves a call on a goroutine of its own.
func (w *workers) run(k *call) {
	w.running.Add(1)
	w.mu.Lock()
	last := len(w.idle) - 1
	if last < 0 {
		w.mu.Unlock()
		go w.work(k)
		return
	}
	next := w.idle[last]
	w.idle = w.idle[:last]
	w.mu.Unlock()
	next <- k
}

// work serves a call, and then others as long as there is a place to wait for them.
func (w *workers) work(k *call) {
	next := make(chan *call, 1)
	for k != nil {
		k.serve()
		w.running.Done()
		if !w.rest(next) {
			return
		}
		k = <-next
	}
}

// rest notes that a worker waits, and reports whether it may.
func (w *workers) rest(next chan *call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || len(w.idle) >= maxIdleWorkers {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// wait waits until no call is under way. No call may begin meanwhile.
func (w *workers) wait() { w.running.Wait() }

// stop ends the workers that wait, and each other one after its call.
func (w *workers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
}
