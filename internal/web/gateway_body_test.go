package web

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestAFaultEndsAConversationBeforeItsSenderDoes has the sender wait: if it ended its half in good order first, the
// client would be told that all is well.
func TestAFaultEndsAConversationBeforeItsSenderDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled := false
		body := &jsonBody{
			ReadCloser: io.NopCloser(strings.NewReader("nonsense")), converses: true, limit: 100, left: 100,
			cancel: func() { cancelled = true }, over: make(chan struct{}),
		}
		read := make(chan error, 1)
		go func() { read <- new(translator).NewDecoder(body).Decode(new(pb.WatchRequest)) }()
		synctest.Wait()
		if len(read) != 0 || !cancelled || status.Code(body.found()) != codes.InvalidArgument {
			t.Errorf("the sender goes on: %v, cancelled %t, fault %v", len(read) != 0, cancelled, body.found())
		}
		close(body.over)
		if err := <-read; !errors.Is(err, io.EOF) {
			t.Errorf("the end is %v", err)
		}
	})
}
