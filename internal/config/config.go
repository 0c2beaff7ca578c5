package config

import (
	"time"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// Environment says what the relay may create by itself at start.
type Environment string

// The environments.
const (
	Testing     Environment = "testing"
	Development Environment = "development"
	Production  Environment = "production" // only checks
)

// MayCreate reports whether `run` migrates, creates topics and registers
// schemas at start. In production it only checks that they are there.
func (e Environment) MayCreate() bool { return e == Testing || e == Development }

// Config is what the files say, over the defaults, checked. Its yaml tags are
// the keys of the files. Relative paths are resolved already. It never changes
// after Load; it is safe for concurrent use.
type Config struct {
	// Name names checkpoints and transactional ids: two relays of the same name
	// on one Kafka cluster fence each other.
	Name        string      `yaml:"name"`
	Environment Environment `yaml:"environment"`

	Postgres Postgres `yaml:"postgres"`
	// Database, Service, Mapping and Table describe the one pipeline of a
	// configuration without Databases; with Databases, Mapping and Table are
	// the defaults of each.
	Database  string              `yaml:"database"`
	Service   string              `yaml:"service"`
	Mapping   transform.Mapping   `yaml:"mapping"`
	Table     string              `yaml:"table"`
	Databases map[string]Database `yaml:"databases"`

	// Kafka holds librdkafka properties under their own names; transaction.timeout.ms
	// is one of them. internal/kafka judges all but bootstrap.servers.
	Kafka           map[string]string `yaml:"kafka"`
	CheckpointTopic string            `yaml:"checkpoint_topic"`
	Topics          Topics            `yaml:"topics"`
	DeadLetters     DeadLetters       `yaml:"dead_letters"`

	Registry Registry `yaml:"registry"`
	Schemas  string   `yaml:"schemas"` // folder of *.avsc
	// Lint are severities of rules of `schemas lint`: off, warn or error.
	Lint   map[string]string `yaml:"lint"`
	Events []string          `yaml:"events"` // contract files

	Batch          Batch          `yaml:"batch"`
	Memory         Size           `yaml:"memory"`          // of all batches of the process
	MaxEventBytes  Size           `yaml:"max_event_bytes"` // of a record on the wire
	IdleCheckpoint IdleCheckpoint `yaml:"idle_checkpoint"`

	ClaimCheck ClaimCheck `yaml:"claim_check"`

	HTTP HTTP `yaml:"http"`
	Log  Log  `yaml:"log"`

	from      map[string]*node
	places    map[string]Place
	pipelines []Pipeline
}

// Postgres is the server the relay reads.
type Postgres struct {
	// URL is a postgres:// URL or a keyword=value string. What it lacks comes
	// from the PG* variables, the service file and the password file.
	URL string `yaml:"url" config:"url"`
	// Slot is for the one pipeline of a configuration without databases.
	Slot        string `yaml:"slot"`
	Publication string `yaml:"publication"`
	// Failover makes slots survive a failover to a standby, from PostgreSQL 17.
	Failover      bool          `yaml:"failover"`
	SenderTimeout time.Duration `yaml:"sender_timeout"` // wal_sender_timeout of our connection
	// MessagePrefix turns transactional logical messages of exactly this prefix
	// into events; empty: none. Any role that may connect can emit them.
	MessagePrefix string `yaml:"message_prefix"`
}

// Database is one entry of databases: what differs from the defaults.
type Database struct {
	Service     string             `yaml:"service"`
	Mapping     *transform.Mapping `yaml:"mapping"`
	Table       string             `yaml:"table"`
	Events      []string           `yaml:"events"` // in addition to the top-level ones
	Slot        string             `yaml:"slot"`
	Publication string             `yaml:"publication"`
	URL         string             `yaml:"url" config:"url"` // another server
	DBName      string             `yaml:"dbname"`           // when it is not the entry's name
	Enabled     *bool              `yaml:"enabled"`
	// DeadLetterTopic is <name>.<pipeline>.dead-letters when empty.
	DeadLetterTopic string `yaml:"dead_letter_topic"`
}

// Topics are the defaults of topics the relay creates, and how it takes one that
// differs from its class.
type Topics struct {
	ReplicationFactor int `yaml:"replication_factor"` // 0: the broker's default
	// OnDrift says what a start does about a topic that is not as its class says.
	OnDrift string `yaml:"on_drift"` // refuse | warn
}

// Refuses reports whether a topic that is not as its class says is refused.
func (t Topics) Refuses() bool { return t.OnDrift != "warn" }

// Registry is the Confluent-compatible schema registry.
type Registry struct {
	URL      string        `yaml:"url" config:"url"`
	Username string        `yaml:"username"`
	Password string        `yaml:"password" config:"secret"`
	Token    string        `yaml:"token" config:"secret"` // bearer
	TLS      TLS           `yaml:"tls"`
	Timeout  time.Duration `yaml:"timeout"` // of one request
	// References says what becomes of the types that sibling files define: inline
	// (in each schema that names them) or register (a subject of their own, to
	// which schemas refer).
	References string `yaml:"references"`
}

// The values of Registry.References.
const (
	ReferencesInline   = "inline"
	ReferencesRegister = "register"
)

// TLS names PEM files.
type TLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Batch limits what goes into one Kafka transaction.
type Batch struct {
	Events int  `yaml:"events"`
	Bytes  Size `yaml:"bytes"`
}

// IdleCheckpoint says how often a checkpoint alone is committed while a
// database has no events for us: whichever comes first.
type IdleCheckpoint struct {
	Interval time.Duration `yaml:"interval"`
	Bytes    Size          `yaml:"bytes"` // of WAL
}

// HTTP is the address of /healthz, /readyz and /metrics.
type HTTP struct {
	Listen string `yaml:"listen"`
}

// Log is the process's log on standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug | info | warn | error
	Format string `yaml:"format"` // text | json
}

// Pipeline is one database with every default applied.
type Pipeline struct {
	Name        string // the database's name in the configuration
	Key         string // <name>/<pipeline>: key of checkpoints, stem of transactional ids
	Service     string
	Database    string // as the server knows it
	URL         string // of that database
	Table       string // schema.table
	Slot        string
	Publication string
	Mapping     transform.Mapping
	Contract    *contract.Contract
	// DeadLetterTopic is where its dead letters go, whether any can be or not.
	DeadLetterTopic string
}

// Pipelines are the enabled pipelines, by name.
func (c *Config) Pipelines() []Pipeline { return c.pipelines }

// NeedsRegistry reports whether any enabled pipeline publishes Avro.
func (c *Config) NeedsRegistry() bool {
	for _, p := range c.pipelines {
		if p.Contract != nil && len(p.Contract.Subjects()) > 0 {
			return true
		}
	}
	return false
}

// defaults is a Config before any file.
func defaults() *Config {
	return &Config{
		Environment:     Production,
		Postgres:        Postgres{Publication: "cdc_relay", Failover: true, SenderTimeout: 10 * time.Second},
		Mapping:         transform.Mapping{Preset: contract.PresetNative},
		CheckpointTopic: "cdc-relay.checkpoints",
		Topics:          Topics{OnDrift: "refuse"},
		Registry:        Registry{Timeout: 10 * time.Second, References: ReferencesInline},
		Schemas:         "schemas/avro",
		Batch:           Batch{Events: 2000, Bytes: 8 << 20},
		Memory:          256 << 20,
		MaxEventBytes:   1_000_000,
		DeadLetters:     defaultDeadLetters(),
		IdleCheckpoint:  IdleCheckpoint{Interval: 10 * time.Second, Bytes: 16 << 20},
		ClaimCheck:      ClaimCheck{Timeout: 30 * time.Second, Parallel: 8},
		HTTP:            HTTP{Listen: ":9464"},
		Log:             Log{Level: "info", Format: "text"},
	}
}

// presetTables are the tables of the mapping presets.
var presetTables = map[string]string{
	contract.PresetNative:   "cdc_relay.outbox",
	contract.PresetDebezium: "public.outboxevent",
}
