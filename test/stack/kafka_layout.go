package stack

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// prepare lays a cluster out and formats its storage as Kafka's tool would,
// without starting Java once more: it copies what the tool made for the
// training (a metadata snapshot with the feature levels, the same for all) and
// writes meta.properties, which names cluster, node and folder.
func (a *apache) prepare() error {
	if err := a.layOut(); err != nil {
		return err
	}
	for _, n := range a.all() {
		data := filepath.Join(n.dir, "data")
		if err := os.CopyFS(data, os.DirFS(filepath.Join(a.archive, "formatted"))); err != nil {
			return fmt.Errorf("format Kafka's storage: %w", err)
		}
		meta := fmt.Sprintf("cluster.id=%s\nnode.id=%d\ndirectory.id=%s\nversion=1\n", a.clusterID, n.id, kafkaID())
		if err := os.WriteFile(filepath.Join(data, "meta.properties"), []byte(meta), 0o644); err != nil {
			return fmt.Errorf("format Kafka's storage: %w", err)
		}
	}
	return nil
}

// layOut takes ports and writes the nodes' configurations.
func (a *apache) layOut() (err error) {
	a.clusterID = kafkaID()
	if a.base, err = a.stack.guard.tempDir("kafka"); err != nil {
		return err
	}
	logging := filepath.Join(a.base, "log4j2.properties")
	if err := os.WriteFile(logging, []byte(kafkaLogging), 0o644); err != nil {
		return err
	}
	roles := "broker,controller"
	if a.config.killable {
		roles = "broker"
		if a.control, err = a.newNode(100, "controller"); err != nil {
			return err
		}
	}
	for id := 1; id <= a.config.brokers; id++ {
		n, err := a.newNode(id, roles)
		if err != nil {
			return err
		}
		a.nodes = append(a.nodes, n)
	}
	for _, n := range a.all() {
		all := a.settings(n)
		maps.Copy(all, a.config.settings)
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintf(&b, "%s=%s\n", name, strings.ReplaceAll(all[name], `\`, `\\`))
		}
		if err := os.WriteFile(n.properties(), []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// newNode takes the ports of one node and makes its folder.
func (a *apache) newNode(id int, roles string) (_ *apacheNode, err error) {
	n := &apacheNode{id: id, roles: roles, dir: filepath.Join(a.base, strconv.Itoa(id))}
	if strings.Contains(roles, "broker") {
		if n.client, err = leasePort(a.stack.cache); err != nil {
			return nil, err
		}
		if a.config.proxied {
			if n.outer, err = newOuter(a.stack.cache); err != nil {
				n.release()
				return nil, err
			}
		}
	}
	if strings.Contains(roles, "controller") {
		if n.voter, err = leasePort(a.stack.cache); err != nil {
			n.release()
			return nil, err
		}
	}
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		n.release()
		return nil, err
	}
	return n, nil
}

// all returns the controller, if there is one apart, and the brokers.
func (a *apache) all() []*apacheNode {
	if a.control == nil {
		return a.nodes
	}
	return append([]*apacheNode{a.control}, a.nodes...)
}

// settings are the broker properties of this package. What differs from
// Kafka's defaults makes it small, quick to restart after SIGKILL (a session of
// 9 s would be waited for) and quick to abort what a dead producer left open. A
// shared broker is not restarted, and its session is long instead: fenced for a
// moment on a busy machine, Kafka 4.4 may leave transactions open for ever.
func (a *apache) settings(n *apacheNode) map[string]string {
	var voters []string
	for _, v := range a.all() {
		if v.voter != nil {
			voters = append(voters, fmt.Sprintf("%d@%s", v.id, v.voter.addr()))
		}
	}
	session := "30000"
	if a.config.killable {
		session = "2500"
	}
	factor, inSync := "1", "1"
	if a.config.brokers >= 3 {
		factor, inSync = "3", "2"
	}
	all := map[string]string{
		"process.roles":                  n.roles,
		"node.id":                        strconv.Itoa(n.id),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"controller.listener.names":      "CONTROLLER",
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "PLAINTEXT",
		"log.dirs":                       filepath.Join(n.dir, "data"),

		"num.partitions":                                   "1",
		"default.replication.factor":                       factor,
		"min.insync.replicas":                              inSync,
		"offsets.topic.num.partitions":                     "1",
		"offsets.topic.replication.factor":                 factor,
		"transaction.state.log.num.partitions":             "1",
		"transaction.state.log.replication.factor":         factor,
		"transaction.state.log.min.isr":                    inSync,
		"share.coordinator.state.topic.num.partitions":     "1",
		"share.coordinator.state.topic.replication.factor": factor,
		"share.coordinator.state.topic.min.isr":            inSync,

		"auto.create.topics.enable":                                   "false",
		"group.initial.rebalance.delay.ms":                            "0",
		"broker.session.timeout.ms":                                   session,
		"broker.heartbeat.interval.ms":                                "500",
		"log.cleaner.dedupe.buffer.size":                              "4194304",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
	}
	var listeners []string
	if n.client != nil {
		listeners = append(listeners, "PLAINTEXT://"+n.client.addr())
		all["advertised.listeners"] = listeners[0]
	}
	if n.voter != nil {
		listeners = append(listeners, "CONTROLLER://"+n.voter.addr())
	}
	all["listeners"] = strings.Join(listeners, ",")
	if n.outer != nil {
		n.outer.listen(all)
	}
	return all
}

// kafkaID returns a random id in Kafka's form: 16 bytes in base64 for URLs, 22
// characters, not beginning with a dash (a command line would take it for an
// option).
func kafkaID() string {
	var b [16]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if id := base64.RawURLEncoding.EncodeToString(b[:]); id[0] != '-' {
			return id
		}
	}
}
