package topics

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Role is what a topic is for.
type Role string

// The roles.
const (
	Events     Role = "events"
	Checkpoint Role = "checkpoint"   // its partitions are never altered: a checkpoint is found by its key
	Letters    Role = "dead_letters" // the same: its order is the order of the letters
)

// Want is a topic as a configuration wants it.
type Want struct {
	Name  string `json:"topic"`
	Role  Role   `json:"role"`
	Class string `json:"topic_class,omitempty"` // "" none: nothing of an existing topic is held against it
	// Partitions it is created with.
	Partitions int `json:"partitions"`
	// Replicas it is created with; 0: the brokers' default, and nothing is
	// held against it.
	Replicas int `json:"replication_factor,omitempty"`
	// Config are the settings that are named, under Kafka's names.
	Config    map[string]string `json:"config,omitempty"`
	Pipelines []string          `json:"pipelines,omitempty"`
	// Legacy: it is made like this, and an existing one is left as it is.
	Legacy bool `json:"legacy,omitempty"`
}

// says reports whether an existing topic is held against w.
func (w *Want) says() bool { return !w.Legacy && (w.Class != "" || w.Role != Events) }

// whose names the topic's source for messages.
func (w *Want) whose() string {
	if w.Class == "" {
		return "the relay"
	}
	return "class " + w.Class
}

// Merge makes one list of what several pipelines want, each topic once, by role
// and name. The error names a topic that two of them want differently.
func Merge(lists ...[]Want) ([]Want, error) {
	found := map[string]Want{}
	for _, list := range lists {
		for _, w := range list {
			first, ok := found[w.Name]
			if !ok {
				w.Pipelines = slices.Clone(w.Pipelines)
				found[w.Name] = w
				continue
			}
			if first.Role != w.Role {
				return nil, fmt.Errorf("topic %q is wanted for %s and for %s; give one of them another name", w.Name, first.Role, w.Role)
			}
			if first.says() && w.says() && !first.same(&w) {
				return nil, fmt.Errorf("topic %q: pipeline %s has it with %s, pipeline %s with %s; a topic has one class: write topic_classes once, in a file that all read",
					w.Name, strings.Join(first.Pipelines, ", "), first.form(), strings.Join(w.Pipelines, ", "), w.form())
			}
			both := append(first.Pipelines, w.Pipelines...)
			if first.Class == "" || first.Legacy {
				first = w
			}
			slices.Sort(both)
			first.Pipelines = slices.Compact(both)
			found[w.Name] = first
		}
	}
	all := slices.Collect(maps.Values(found))
	slices.SortFunc(all, func(a, b Want) int { return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name)) })
	return all, nil
}

func (w *Want) same(o *Want) bool {
	return w.Partitions == o.Partitions && w.Replicas == o.Replicas && maps.Equal(w.Config, o.Config)
}

// form is how a topic is created, in words.
func (w *Want) form() string {
	parts := []string{fmt.Sprintf("%d partitions", w.Partitions)}
	if w.Partitions == 1 {
		parts[0] = "1 partition"
	}
	if w.Replicas > 0 {
		parts = append(parts, fmt.Sprintf("replication factor %d", w.Replicas))
	}
	for _, k := range slices.Sorted(maps.Keys(w.Config)) {
		parts = append(parts, k+"="+w.Config[k])
	}
	return strings.Join(parts, ", ")
}

// Have is a topic as the cluster says it is.
type Have struct {
	Exists     bool
	Hidden     bool // it may exist, and we may not see it
	Partitions int
	Replicas   int               // of the partition with the fewest
	Config     map[string]string // everything that is in force; nil: we may not read it
}

// Flag is what `topics apply` needs to make a change that can do harm.
type Flag string

// The flags.
const (
	AcceptRepartitioning Flag = "--accept-repartitioning"
	AcceptDataLoss       Flag = "--accept-data-loss"
)

// Kind is the kind of a Change.
type Kind string

// The kinds, in the order in which they are made.
const (
	Create     Kind = "create"
	Config     Kind = "config"
	Partitions Kind = "partitions"
)

// Change is one thing `topics apply` does.
type Change struct {
	Kind    Kind   `json:"kind"`
	Setting string `json:"setting,omitempty"` // of Config
	From    string `json:"from,omitempty"`
	To      string `json:"to"`
	// Risk says what the change does to consumers; "" nothing.
	Risk string `json:"risk,omitempty"`
	// Needs is the flag without which it is not made; "" none.
	Needs Flag `json:"needs,omitempty"`
}

// String is the change in one line.
func (c Change) String() string {
	switch c.Kind {
	case Create:
		return "create with " + c.To
	case Partitions:
		return "partitions: " + c.From + " → " + c.To
	}
	return c.Setting + ": " + c.From + " → " + c.To
}

// Never is a difference that is never mended.
type Never struct {
	Setting string `json:"setting"`
	Is      string `json:"is"`
	Want    string `json:"want"`
	Why     string `json:"why"`
}

// Topic is one topic of a Plan.
type Topic struct {
	Want
	Exists  bool     `json:"exists"`
	Changes []Change `json:"changes"`
	Never   []Never  `json:"never,omitempty"`
	// Unknown says why the topic could not be judged; "" it was.
	Unknown string `json:"unknown,omitempty"`
}

// Plan is what is to be done to the topics of a configuration.
type Plan struct {
	Topics []Topic `json:"topics"`
	// Misnamed are names that break the contract's naming rule.
	Misnamed []string `json:"misnamed,omitempty"`
	// Unnamed are topics of the cluster that begin with the naming rule's prefix
	// and are in no contract. They are never touched.
	Unnamed []string `json:"unnamed,omitempty"`
}

// Changes counts what is to be done.
func (p *Plan) Changes() (n int) {
	for i := range p.Topics {
		n += len(p.Topics[i].Changes)
	}
	return n
}

// Unknown are the topics that could not be judged.
func (p *Plan) Unknown() (names []string) {
	for i := range p.Topics {
		if p.Topics[i].Unknown != "" {
			names = append(names, p.Topics[i].Name)
		}
	}
	return names
}

// Needs are the flags that the changes need, sorted.
func (p *Plan) Needs() (flags []Flag) {
	for i := range p.Topics {
		for _, c := range p.Topics[i].Changes {
			if c.Needs != "" && !slices.Contains(flags, c.Needs) {
				flags = append(flags, c.Needs)
			}
		}
	}
	slices.Sort(flags)
	return flags
}
