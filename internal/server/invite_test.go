package server

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnInvitationIsGoodForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i invitations
		if i.check("") || i.check("guess") {
			t.Fatal("a guess is good before anything was given out")
		}
		token, until, err := i.issue([32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if !i.check(token.Secret) {
				t.Error("a token is not good, or only once")
			}
		}
		if i.check(token.Secret[1:]) || i.check("") || i.check(token.String()) {
			t.Error("something else is good too")
		}
		time.Sleep(time.Until(until))
		if i.check(token.Secret) {
			t.Error("it is good for ever")
		}
		for n := 0; ; n++ {
			if _, _, err := i.issue([32]byte{}); err != nil {
				if n != maxInvitations || !errors.Is(err, ErrInvitations) {
					t.Errorf("after %d: %v", n, err)
				}
				break
			}
		}
		time.Sleep(invitationLife)
		if _, _, err := i.issue([32]byte{}); err != nil {
			t.Errorf("after all have expired: %v", err)
		}
	})
}
