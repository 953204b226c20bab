package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// CheckBootstrap checks what only a first start looks at, as far as nobody needs to be asked: whether two spellings of
// one address are the same, name servers know, and who is found in another way is not known yet. Call it when the
// data directory is empty; where there is data, etcd ignores all of this too.
func (c *Config) CheckBootstrap() error {
	if len(c.Join) > 0 || len(c.Discovery.Endpoints) > 0 || c.DiscoverySRV != "" {
		return nil
	}
	own, ok := c.InitialCluster[c.Name]
	if !ok {
		return fmt.Errorf("couldn't find local name %q in the initial cluster configuration", c.Name)
	}
	if !c.JoinsExisting() && !slices.Equal(own, urlTexts(c.InitialAdvertisePeerURLs)) {
		return nil // if it is to be refused, then for this before anything else
	}
	seen := map[string]bool{}
	for _, peerURLs := range c.InitialCluster {
		for _, u := range peerURLs {
			if seen[u] {
				return fmt.Errorf("initial cluster %s has duplicate url", c.initialClusterText())
			}
			seen[u] = true
		}
	}
	return nil
}

func (c *Config) initialClusterText() string {
	var pairs []string
	for name, peerURLs := range c.InitialCluster {
		for _, u := range peerURLs {
			pairs = append(pairs, name+"="+u)
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

func clusterTextFor(name string, list []url.URL) string {
	pairs := urlTexts(list)
	for i := range pairs {
		pairs[i] = name + "=" + pairs[i]
	}
	return strings.Join(pairs, ",")
}

// adjustDefaults replaces the guesses in the defaults by better ones, as etcd
// does: a listener on 0.0.0.0 advertises the address of the default route
// instead of localhost, and a name alone renames the default initial cluster.
// It returns the text of the initial cluster.
func (c *Config) adjustDefaults(clusterText string, machine host) string {
	peerMoved := c.advertiseOutbound("initial-advertise-peer-urls", defaultPeerURL, c.ListenPeerURLs, c.InitialAdvertisePeerURLs, machine)
	c.advertiseOutbound("advertise-client-urls", defaultClientURL, c.ListenClientURLs, c.AdvertiseClientURLs, machine)
	if clusterText == defaultCluster && (c.Name != defaultName || peerMoved) {
		// etcd leaves the default alone when only the address moved and the
		// name did not, and then refuses to start because the two differ.
		return clusterTextFor(c.Name, c.InitialAdvertisePeerURLs)
	}
	return clusterText
}

func (c *Config) advertiseOutbound(flagName, defaultURL string, listen, advertise []url.URL, machine host) bool {
	if len(listen) == 0 || listen[0].Hostname() != "0.0.0.0" ||
		len(advertise) != 1 || advertise[0].String() != defaultURL {
		return false
	}
	ip, err := machine.outboundIP()
	if err != nil {
		c.warnf("--%s stays at %s, because the address of this machine is not known (%v): other machines cannot use it.", flagName, defaultURL, err)
		return false
	}
	advertise[0].Host = net.JoinHostPort(ip, listen[0].Port())
	return true
}

func realHost() host {
	return host{readFile: readConfigFile, outboundIP: outboundIP}
}

// outboundIP is the source address of the default route. "Connecting" a UDP
// socket makes the system choose it without sending anything; the target is an
// address reserved for documentation.
func outboundIP() (string, error) {
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ip, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return ip, err
}
