package stack

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/test/fault"
)

// Proxied puts a [fault.Proxy] before each broker: a second listener whose
// advertised address is the proxy's, so that a client which bootstraps through
// [Kafka.ProxiedBootstrap] stays on proxies, while one of [Kafka.Bootstrap]
// never meets them, and brokers neither. Only the kind apache can: a broker
// asked for with it is of that kind, or an error.
func Proxied() BrokerOption { return func(c *brokerConfig) { c.proxied = true } }

// Proxies returns the proxies by broker number: the first is broker 1's. nil
// without the option Proxied. They end with the cluster and survive Kill and
// Start of a broker.
func (k *Kafka) Proxies() []*fault.Proxy { return k.proxies }

// ProxiedBootstrap returns the addresses for clients that are to go through the
// proxies: host:port, separated by commas; "" without the option Proxied.
func (k *Kafka) ProxiedBootstrap() string {
	var all []string
	for _, p := range k.proxies {
		all = append(all, p.Addr())
	}
	return strings.Join(all, ",")
}

// outer is the second listener of a broker.
type outer struct {
	port  *lease
	proxy *fault.Proxy
}

const outerName = "PROXIED"

func newOuter(c *cache) (*outer, error) {
	port, err := leasePort(c)
	if err != nil {
		return nil, err
	}
	proxy, err := fault.NewKafka(port.addr())
	if err != nil {
		port.release()
		return nil, err
	}
	return &outer{port: port, proxy: proxy}, nil
}

// close may be called on nil.
func (o *outer) close() error {
	if o == nil {
		return nil
	}
	o.port.release()
	return o.proxy.Close()
}

// listen adds the listener to a broker's properties.
func (o *outer) listen(all map[string]string) {
	all["listeners"] += fmt.Sprintf(",%s://%s", outerName, o.port.addr())
	all["advertised.listeners"] += fmt.Sprintf(",%s://%s", outerName, o.proxy.Addr())
	all["listener.security.protocol.map"] += "," + outerName + ":PLAINTEXT"
}

// proxies returns those of all brokers, by number; nil without them.
func (a *apache) proxies() (all []*fault.Proxy) {
	for _, n := range a.nodes {
		if n.outer != nil {
			all = append(all, n.outer.proxy)
		}
	}
	return all
}

// ErrProxied is the answer of a kind that cannot advertise another address.
var ErrProxied = errors.New("only a broker of kind apache can be proxied; set " + brokerVariable + "=apache, or leave it unset")
