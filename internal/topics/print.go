package topics

import (
	"fmt"
	"strings"
)

// maxUnnamed is how many topics of no contract a person is told by name.
const maxUnnamed = 10

// Text is the plan for people.
func (p *Plan) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	quiet := 0
	for i := range p.Topics {
		t := &p.Topics[i]
		if len(t.Changes)+len(t.Never) == 0 && t.Unknown == "" {
			quiet++
			continue
		}
		line("%s", t.Title())
		for _, c := range t.Changes {
			sign := "~"
			if c.Kind == Create {
				sign = "+"
			}
			line("  %s %s", sign, c)
			if c.Risk != "" {
				line("      %s", c.Risk)
			}
			if c.Needs != "" {
				line("      only with cdc-relay topics apply %s", c.Needs)
			}
		}
		for _, n := range t.Never {
			line("  ! %s is %s, not %s: never changed; %s", n.Setting, n.Is, n.Want, n.Why)
		}
		if t.Unknown != "" {
			line("  ? %s", t.Unknown)
		}
	}
	for _, m := range p.Misnamed {
		line("name: %s", m)
	}
	if n := len(p.Unnamed); n > 0 {
		more := ""
		if n > maxUnnamed {
			more = fmt.Sprintf(" and %d more", n-maxUnnamed)
		}
		line("in no contract: %s%s; topics are never deleted: when nobody reads one any more, kafka-topics.sh --delete --topic NAME", strings.Join(p.Unnamed[:min(n, maxUnnamed)], ", "), more)
	}
	line("%s; %s", count(p.Changes(), "change", "changes"), count(quiet, "topic is as it should be", "topics are as they should be"))
	return b.String()
}

// Title names the topic and its class.
func (t *Topic) Title() string {
	if t.Class == "" {
		return "topic " + t.Name
	}
	return "topic " + t.Name + " (class " + t.Class + ")"
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
