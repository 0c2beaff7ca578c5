package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// validator checks a decoded Config. A path that is bad already is not judged
// again: one slip makes one message.
type validator struct {
	*collector
	loader
	cfg *Config
	top Place // of the first file
	bad map[string]bool
}

// at is the place of path, or of the nearest section around it.
func (v *validator) at(path string) Place {
	for path != "" {
		if n := v.cfg.from[path]; n != nil {
			return n.at
		}
		if at, ok := v.cfg.places[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return v.top
}

func (v *validator) fail(path, do, format string, args ...any) {
	if v.bad[path] {
		return
	}
	v.bad[path] = true
	v.add(v.at(path), path, do, format, args...)
}

// missing is fail for what is not there: nothing is missing that was written
// and did not come through.
func (v *validator) missing(path, do, what string) {
	for bad := range v.bad {
		if strings.HasPrefix(bad, path+".") || strings.HasPrefix(bad, path+"[") {
			return
		}
	}
	v.fail(path, do, "%s", what)
}

// said reports whether a file sets path, rightly or not.
func (v *validator) said(path string) bool {
	_, ok := v.cfg.places[path]
	return ok
}

func (v *validator) all() {
	c := v.cfg
	v.name("name", c.Name, "it names the checkpoints and transactional ids and must be its own for each relay on a Kafka cluster")
	v.oneOf("environment", string(c.Environment), string(Testing), string(Development), string(Production))
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "text", "json")
	v.listen()
	v.kafka()
	v.registry()
	v.deadLetters()
	v.lint()
	v.claimCheck()
	v.between("postgres.sender_timeout", c.Postgres.SenderTimeout, time.Second, time.Hour)
	v.between("idle_checkpoint.interval", c.IdleCheckpoint.Interval, 100*time.Millisecond, time.Hour)
	v.size("idle_checkpoint.bytes", c.IdleCheckpoint.Bytes, 1<<20, 1<<40)
	v.size("batch.bytes", c.Batch.Bytes, 64<<10, 1<<30)
	v.size("memory", c.Memory, 1<<20, 1<<40)
	v.size("max_event_bytes", c.MaxEventBytes, 1<<10, 1<<30)
	if c.Batch.Events < 1 || c.Batch.Events > 1_000_000 {
		v.fail("batch.events", "write a number from 1 to 1000000, such as 2000", "%d is out of range", c.Batch.Events)
	}
	if c.Memory < 2*c.Batch.Bytes {
		v.fail("memory", fmt.Sprintf("write at least %s, or lower batch.bytes", 2*c.Batch.Bytes),
			"%s cannot hold the two batches of one pipeline (batch.bytes is %s): one fills while the other is committed", c.Memory, c.Batch.Bytes)
	}
}

// nameForm is what may stand in a transactional id, a Kafka key and a metric
// label without being quoted.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func (v *validator) name(path, s, why string) {
	switch {
	case s == "":
		v.fail(path, "write "+path+": and a short name, such as essays; "+why, "it is required and missing")
	case !nameForm.MatchString(s):
		v.fail(path, "begin with a letter or digit, then at most 99 letters, digits, dots, dashes and underscores", "%q is not a name", s)
	}
}

func (v *validator) oneOf(path, s string, allowed ...string) {
	if !slices.Contains(allowed, s) {
		v.fail(path, "write one of "+strings.Join(allowed, ", "), "%q is not known here", s)
	}
}

func (v *validator) between(path string, d, low, high time.Duration) {
	if d < low || d > high {
		v.fail(path, fmt.Sprintf("write a duration from %s to %s", formatDuration(low), formatDuration(high)), "%s is out of range", formatDuration(d))
	}
}

func (v *validator) size(path string, s, low, high Size) {
	if s < low || s > high {
		v.fail(path, fmt.Sprintf("write a size from %s to %s", low, high), "%s is out of range", s)
	}
}

func (v *validator) listen() {
	listen := v.cfg.HTTP.Listen
	_, port, err := net.SplitHostPort(listen)
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || n < 0 || n > 65535 {
		v.fail("http.listen", "write host:port or :port, such as :9464 (port 0 takes a free one)", "%q is not an address", listen)
	}
}

func (v *validator) kafka() {
	c := v.cfg
	if strings.TrimSpace(c.Kafka["bootstrap.servers"]) == "" {
		v.fail("kafka.bootstrap.servers", `write kafka: {bootstrap.servers: "broker:9092"}; other librdkafka properties (TLS, SASL) stand beside it`, "it is required and missing")
	}
	for _, key := range slices.Sorted(maps.Keys(c.Kafka)) {
		if strings.ContainsAny(key, " \t\n") || key == "" {
			v.fail("kafka."+key, "write the property as librdkafka's CONFIGURATION.md does, such as security.protocol", "%q is not the name of a librdkafka property", key)
		}
	}
	if err := contract.CheckTopic(c.CheckpointTopic); err != nil {
		v.fail("checkpoint_topic", "write a topic name, such as cdc-relay.checkpoints", "%q: %v", c.CheckpointTopic, err)
	}
	v.oneOf("topics.on_drift", c.Topics.OnDrift, "refuse", "warn")
	if rf := c.Topics.ReplicationFactor; rf < 0 || rf > 32767 {
		v.fail("topics.replication_factor", "write a number of brokers, such as 3, or delete the line for the broker's default", "%d is out of range", rf)
	}
}

func (v *validator) registry() {
	r := v.cfg.Registry
	if r.URL != "" {
		if u, err := url.Parse(r.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			v.fail("registry.url", "write the base URL, such as http://registry:8081", "%q is not an http or https URL", v.shown("registry.url", r.URL))
		}
	} else if v.said("registry") && !v.bad["registry"] && !v.bad["registry.url"] {
		v.fail("registry.url", "write the base URL, such as http://registry:8081, or delete the section when no event is encoded as avro", "it is missing")
	}
	if r.Token != "" && (r.Username != "" || r.Password != "") {
		v.fail("registry.token", "keep either the token or username and password", "two ways to authenticate are given")
	}
	if r.Password != "" && r.Username == "" {
		v.fail("registry.username", "write registry.username", "a password without a user name")
	}
	if (r.TLS.Cert == "") != (r.TLS.Key == "") {
		v.fail("registry.tls", "write both cert and key, or neither", "a client certificate needs both cert and key")
	}
	for _, f := range []struct{ path, name string }{{"registry.tls.ca", r.TLS.CA}, {"registry.tls.cert", r.TLS.Cert}, {"registry.tls.key", r.TLS.Key}} {
		if f.name == "" {
			continue
		}
		if _, err := v.stat(f.name); err != nil {
			v.fail(f.path, "name a PEM file that this process can read", "%s cannot be read: %v", f.name, reason(err))
		}
	}
	v.between("registry.timeout", r.Timeout, 100*time.Millisecond, 5*time.Minute)
	v.oneOf("registry.references", r.References, ReferencesInline, ReferencesRegister)
}

// shown is the value at path as people may see it.
func (v *validator) shown(path, value string) string {
	if n := v.cfg.from[path]; n != nil {
		return redactURL(n.shown)
	}
	return redactURL(value)
}

// needs checks what only the contracts tell: Avro needs a registry and schemas.
func (v *validator) needs() {
	v.claimNeeds()
	if !v.cfg.NeedsRegistry() || v.bad["registry"] {
		return
	}
	if v.cfg.Registry.URL == "" {
		v.fail("registry.url", "write registry: {url: \"http://registry:8081\"}, or encoding: json on every event",
			"it is missing, and events are encoded as avro")
	}
	info, err := v.stat(v.cfg.Schemas)
	switch {
	case err != nil:
		v.fail("schemas", "name the folder that holds the .avsc files", "folder %s cannot be read: %v", v.cfg.Schemas, reason(err))
	case !info.IsDir():
		v.fail("schemas", "name the folder that holds the .avsc files", "%s is not a folder", v.cfg.Schemas)
	}
}
