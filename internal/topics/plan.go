package topics

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Compare makes the plan of the topics wanted. have holds what the cluster says
// of each by name; a topic it does not hold does not exist.
func Compare(wants []Want, have map[string]Have) Plan {
	p := Plan{Topics: make([]Topic, len(wants))}
	for i, w := range wants {
		p.Topics[i] = compare(w, have[w.Name])
	}
	return p
}

func compare(w Want, h Have) Topic {
	t := Topic{Want: w, Exists: h.Exists, Changes: []Change{}}
	switch {
	case h.Hidden:
		t.Unknown = "the relay's user may not see it; grant Describe and DescribeConfigs on it"
		return t
	case !h.Exists:
		t.Changes = append(t.Changes, Change{Kind: Create, To: w.form()})
		return t
	case w.Legacy:
		return t
	case h.Config == nil && len(w.Config) > 0:
		t.Unknown = "its configuration may not be read; grant DescribeConfigs on it"
	default:
		t.configs(h)
	}
	t.partitions(h)
	t.replicas(h)
	return t
}

func (t *Topic) never(setting, is, want, why string) {
	t.Never = append(t.Never, Never{setting, is, want, why})
}

func (t *Topic) partitions(h Have) {
	is, want := strconv.Itoa(h.Partitions), strconv.Itoa(t.Partitions)
	switch {
	case !t.says() || h.Partitions == t.Partitions:
	case t.Role == Checkpoint:
		t.never("partitions", is, want, "a checkpoint is looked for in its key's partition; any number is fine as long as it never changes")
	case t.Role == Letters:
		t.never("partitions", is, want, "the order of the topic is the order of the letters, so it must have one; name another topic (dead_letters.topic)")
	case h.Partitions > t.Partitions:
		t.never("partitions", is, want, "Kafka takes no partition away; write partitions: "+is+" in "+t.whose()+", or publish to a new topic (the next vN)")
	default:
		t.Changes = append(t.Changes, Change{Kind: Partitions, From: is, To: want, Needs: AcceptRepartitioning,
			Risk: fmt.Sprintf("MOVES KEYS: %d %% of the keys go to another partition from then on, and what they have published stays where it is: "+
				"a consumer may read a key's new events before its old ones, and state kept per partition no longer meets its keys",
				moved(h.Partitions, t.Partitions))})
	}
}

// moved is how many keys in a hundred change their partition. A hash keeps it if
// its rests by both numbers are the same: in each stretch of their least common
// multiple, that many as the smaller number.
func moved(from, to int) int {
	a, b := from, to
	for b != 0 {
		a, b = b, a%b
	}
	return 100 - 100*a/to // from / lcm(from, to) = gcd / to
}

func (t *Topic) replicas(h Have) {
	if t.Replicas == 0 || h.Replicas == t.Replicas {
		return
	}
	t.never("replication_factor", strconv.Itoa(h.Replicas), strconv.Itoa(t.Replicas),
		"moving replicas loads the brokers and is their operator's to plan: kafka-reassign-partitions.sh")
}

func (t *Topic) configs(h Have) {
	for _, key := range slices.Sorted(maps.Keys(t.Config)) {
		want := t.Config[key]
		is, known := h.Config[key]
		switch {
		case !known:
			t.never(key, "unknown to the brokers", want, "they have no topic setting of that name; correct it in "+t.whose())
		case !same(key, is, want):
			c := Change{Kind: Config, Setting: key, From: is, To: want}
			c.Risk, c.Needs = t.risk(h, key, is, want)
			t.Changes = append(t.Changes, c)
		}
	}
}

// same reports whether two values of a setting mean the same: the brokers write
// numbers in their own way, and lists have no order.
func same(key, a, b string) bool {
	if a == b {
		return true
	}
	if key == "cleanup.policy" {
		return slices.Equal(list(a), list(b))
	}
	if x, err := strconv.ParseFloat(strings.TrimSpace(a), 64); err == nil {
		y, err := strconv.ParseFloat(strings.TrimSpace(b), 64)
		return err == nil && x == y
	}
	return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
}

func list(s string) (out []string) {
	for v := range strings.SplitSeq(s, ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
