package rebuild

import (
	"fmt"
	"sort"

	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
)

// history is which term every entry of a log has. Terms only rise, so it is a short list however long the log is.
type history struct {
	first  uint64 // index of the oldest entry whose term is known
	reigns []reign
}

// reign is a row of entries of one term.
type reign struct {
	term uint64
	end  uint64 // index of its last entry
}

// readHistory asks a log for all its terms, from the one before its first entry on.
func readHistory(l *raftlog.Log) (h history, err error) {
	first, err := l.FirstIndex()
	if err != nil {
		return h, fmt.Errorf("read the log's bounds: %w", err)
	}
	last, err := l.LastIndex()
	if err != nil {
		return h, fmt.Errorf("read the log's bounds: %w", err)
	}
	h.first = first - 1
	for i := h.first; i <= last; i++ {
		term, err := l.Term(i)
		if err != nil {
			return h, fmt.Errorf("read the term of entry %d: %w", i, err)
		}
		h.add(i, term)
	}
	return h, nil
}

func (h *history) add(index, term uint64) {
	if n := len(h.reigns); n > 0 && h.reigns[n-1].term == term {
		h.reigns[n-1].end = index
		return
	}
	h.reigns = append(h.reigns, reign{term, index})
}

// last is the last entry; zero for a history of nothing.
func (h history) last() state.Position {
	if len(h.reigns) == 0 {
		return state.Position{}
	}
	r := h.reigns[len(h.reigns)-1]
	return state.Position{Index: r.end, Term: r.term}
}

// at is the term of an entry; 0 if it is not known.
func (h history) at(index uint64) uint64 {
	i := sort.Search(len(h.reigns), func(i int) bool { return h.reigns[i].end >= index })
	if i == len(h.reigns) || index < h.first {
		return 0
	}
	return h.reigns[i].term
}

// beyond is how many entries another log has that this one has not: those behind the last entry that both have. What
// this log has forgotten was committed, so it counts as what both have. Where the other one has forgotten too much to
// tell, it is the least that it can be.
func (h history) beyond(other history) uint64 {
	last := other.last().Index
	common := min(last, h.last().Index)
	for common > h.first && common >= other.first && h.at(common) != other.at(common) {
		common--
	}
	return last - common
}
