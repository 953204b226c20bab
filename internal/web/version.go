package web

import (
	"encoding/json"
	"net/http"
)

// version serves /version.
type version struct {
	node   Node
	server string
}

func (v version) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(asJSON(struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
		Storage string `json:"storage"`
	}{
		v.server, orElse(v.node.ClusterVersion(), "not_decided"), orElse(v.node.StorageVersion(), "unknown"),
	}))
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// asJSON marshals what this package answers with: plain values that cannot fail to marshal. If one ever
// does, null is a better answer than half an object.
func asJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return text
}
