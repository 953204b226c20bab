package token

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestSpecsAreTakenAsEtcdTakesThem(t *testing.T) {
	for text, says := range map[string]string{
		"":           "",
		"simple":     "",
		"simple,x=y": "",
		"jwt,sign-method=HS256,priv-key=a,pub-key=b,ttl=1h,who=knows": "",
		"jwt,pub-key=a,sign-method=PS512":                             "",
		"jwt,sign-method=EdDSA,priv-key=a,ttl=":                       "",

		"Simple":                            "auth: invalid auth options",
		"bearer":                            "auth: invalid auth options",
		"simple,x":                          "auth: invalid auth options",
		"jwt":                               "auth: invalid auth options",
		"jwt,":                              "auth: invalid auth options",
		"jwt,pub-key=a":                     "auth: invalid auth options",
		"jwt,sign-method=RS257,pub-key=a":   "auth: invalid auth options",
		"jwt,sign-method=rs256,pub-key=a":   "auth: invalid auth options",
		"jwt,sign-method=RS256,pub-key=a=b": "auth: invalid auth options",
		"jwt,sign-method=RS256,pub-key=a,pub-key=b": "auth: invalid auth options",
		"jwt,sign-method=RS256,pub-key=a,ttl=5":     "auth: invalid auth options",
		"jwt,sign-method=RS256,pub-key=a,ttl=0s":    "auth: invalid auth options",
		"jwt,sign-method=RS256,pub-key=a,ttl=-5m":   "auth: invalid auth options",
		"jwt,sign-method=RS256":                     "auth: missing key data",
		"jwt,sign-method=ES256,ttl=1m":              "auth: missing key data",
		"jwt,sign-method=HS256,pub-key=a":           "auth: missing key data",
		"jwt,sign-method=none,priv-key=a":           "unsupported signing method: *jwt.signingMethodNone",
	} {
		switch err := CheckSpec(text); {
		case says == "" && err != nil:
			t.Errorf("%q is refused: %v", text, err)
		case says != "" && (err == nil || !strings.HasPrefix(err.Error(), says)):
			t.Errorf("%q gives %v, want %s", text, err, says)
		case says != "" && len(err.Error()) < len(says)+20:
			t.Errorf("%q gives no hint: %v", text, err)
		}
	}
}

func TestUnknownOptionsAreTold(t *testing.T) {
	for text, want := range map[string][]string{
		"simple":         nil,
		"simple,b=1,a=2": {"a", "b"},
		"jwt,sign-method=RS256,pub-key=a,ttl=1m,aud=x": {"aud"},
		"nonsense,a=b": nil,
	} {
		if got := UnknownOptions(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWithoutAKindNobodyGetsAToken(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, Options{})
	if _, err := a.Login(t.Context(), u.view(), "ann", "one"); !errors.Is(err, ErrFailed) {
		t.Errorf("login says %v", err)
	}
	if _, err := a.Identify(u.view(), "anything"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token says %v", err)
	}
}
