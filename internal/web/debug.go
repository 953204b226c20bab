package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"

	"github.com/keelson-db/keelson/internal/metrics"
)

// debugVars serves /debug/vars in the layout of the expvar package, which itself is not used: its
// variables are global and can be published only once, so two servers in one process would collide.
type debugVars struct{ node Node }

func (d debugVars) serve(w http.ResponseWriter, _ *http.Request) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	raft := json.RawMessage(d.node.RaftStatusJSON()) // Marshalling it checks that it is JSON.
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	separator := "{\n"
	for _, v := range []struct {
		name  string
		value any
	}{
		{"cmdline", os.Args},
		{"file_descriptor_limit", metrics.DescriptorLimit()},
		{"memstats", &mem},
		{"raft.status", raft},
	} {
		fmt.Fprintf(w, "%s%q: %s", separator, v.name, asJSON(v.value))
		separator = ",\n"
	}
	fmt.Fprint(w, "\n}\n")
}

// handlePprof serves the profiles on mux. Importing net/http/pprof also puts them on the default mux of
// net/http, which nothing here serves.
func handlePprof(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index) // It serves every named profile below this path too.
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}
