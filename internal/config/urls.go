package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// parseURLs reads comma-separated URLs, sorted and without repetitions.
func parseURLs(value string) ([]url.URL, error) {
	all, err := parseURLList(strings.Split(value, ","))
	return slices.CompactFunc(all, func(a, b url.URL) bool { return a.String() == b.String() }), err
}

// parseURLList reads URLs by etcd's rules and sorts them: http and https need
// host:port and no path, sockets need nothing.
func parseURLList(values []string) ([]url.URL, error) {
	all := make([]url.URL, 0, len(values))
	for _, value := range values {
		value = strings.TrimSpace(value)
		u, err := url.Parse(value)
		if err != nil {
			return nil, err
		}
		switch u.Scheme {
		case "http", "https":
			if _, _, err := net.SplitHostPort(u.Host); err != nil {
				return nil, fmt.Errorf(`URL address does not have the form "host:port": %s`, value)
			}
			if u.Path != "" {
				return nil, fmt.Errorf("URL must not contain a path: %s", value)
			}
		case "unix", "unixs":
		default:
			return nil, fmt.Errorf("URL scheme must be http, https, unix, or unixs: %s", value)
		}
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b url.URL) int { return strings.Compare(a.String(), b.String()) })
	return all, nil
}

// urlList reads a setting whose text has been checked; nothing gives nil.
func (all settings) urlList(name string) []url.URL {
	if all.text(name) == "" {
		return nil
	}
	list, _ := parseURLs(all.text(name))
	return list
}

// urlTexts writes URLs as texts, in the same order.
func urlTexts(list []url.URL) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].String()
	}
	return out
}

func joinURLs(list []url.URL) string { return strings.Join(urlTexts(list), ",") }

func isSocket(u *url.URL) bool { return u.Scheme == "unix" || u.Scheme == "unixs" }

// checkBindURLs refuses host names: a listener must not depend on what a name
// server says at the moment of the start. localhost is the one exception.
func checkBindURLs(list []url.URL) error {
	for i := range list {
		u := &list[i]
		if isSocket(u) {
			continue
		}
		host, _, err := net.SplitHostPort(u.Host)
		if err != nil {
			return err
		}
		if host != "localhost" && net.ParseIP(host) == nil {
			return fmt.Errorf("expected IP in URL for binding (%s)", u.String())
		}
	}
	return nil
}

// checkHostURLs demands a host, since an advertised URL is for dialling.
func checkHostURLs(list []url.URL) error {
	for i := range list {
		u := &list[i]
		if isSocket(u) {
			continue
		}
		host, _, err := net.SplitHostPort(u.Host)
		if err != nil {
			return err
		}
		if host == "" {
			return fmt.Errorf("unexpected empty host (%s)", u.String())
		}
	}
	return nil
}

// checkOrigins takes "*", nothing, or web origins. Unlike etcd it does not
// demand a port, because browsers leave the usual ones out.
func checkOrigins(value string) error {
	for _, origin := range words(value) {
		if origin == "*" {
			continue
		}
		u, err := url.Parse(origin)
		if err != nil {
			return err
		}
		if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("an origin has the form http://host or https://host:port: %s", origin)
		}
		if u.Path != "" {
			return fmt.Errorf("URL must not contain a path: %s", origin)
		}
	}
	return nil
}

// ParseInitialCluster reads "n1=url,n1=url2,n2=url" into each member's sorted peer URLs.
func ParseInitialCluster(value string) (map[string][]string, error) {
	byName := map[string][]string{}
	for _, pair := range strings.Split(value, ",") {
		if pair == "" {
			continue
		}
		name, peerURL, _ := strings.Cut(pair, "=")
		byName[name] = append(byName[name], peerURL)
	}
	for name, texts := range byName {
		list, err := parseURLList(texts)
		if err != nil {
			return nil, err
		}
		byName[name] = urlTexts(list)
	}
	return byName, nil
}
