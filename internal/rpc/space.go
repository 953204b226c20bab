package rpc

import "github.com/keelson-db/keelson/internal/state"

// space asks whether there is room before a request is even looked at: a full server says so to everybody, in
// the same words, at the least cost.
type space struct{ quota Quota }

// admit lets pass what costs nothing, so that room can be made.
func (s space) admit(request any) error {
	if s.quota == nil {
		return nil
	}
	if cost := state.Cost(request); cost > 0 {
		return s.quota.Admit(cost)
	}
	return nil
}
