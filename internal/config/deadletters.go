package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

// DeadLetters say where events go that cannot be published, and how many of them
// may be. Which events may at all is on_error of the contract.
type DeadLetters struct {
	// Topic is for the one pipeline of a configuration without databases; empty:
	// <name>.<pipeline>.dead-letters.
	Topic string `yaml:"topic"`
	// A pipeline stops when more than MaxShare of the last Window events, and at
	// least AtLeast of them, are dead letters. 1: it never does.
	MaxShare float64 `yaml:"max_share"`
	Window   int     `yaml:"window"`
	AtLeast  int     `yaml:"at_least"`
	// MaxHeld is how many keys may be held (dead_letter_and_hold_key).
	MaxHeld int `yaml:"max_held"`
}

// Limit is what a pipeline is held against.
func (d DeadLetters) Limit() deadletter.Limit {
	return deadletter.Limit{Share: d.MaxShare, Window: d.Window, AtLeast: d.AtLeast}
}

func defaultDeadLetters() DeadLetters {
	l := deadletter.DefaultLimit
	return DeadLetters{MaxShare: l.Share, Window: l.Window, AtLeast: l.AtLeast, MaxHeld: 100_000}
}

func (v *validator) deadLetters() {
	d := v.cfg.DeadLetters
	if d.MaxShare < 0 || d.MaxShare > 1 {
		v.fail("dead_letters.max_share", "write a share from 0 to 1, such as 0.05; 1 is no limit", "%v is out of range", d.MaxShare)
	}
	whole := func(path string, n, most int) {
		if n < 1 || n > most {
			v.fail(path, fmt.Sprintf("write a number from 1 to %d", most), "%d is out of range", n)
		}
	}
	whole("dead_letters.window", d.Window, 1_000_000)
	whole("dead_letters.at_least", d.AtLeast, 1_000_000)
	whole("dead_letters.max_held", d.MaxHeld, 10_000_000)
	if d.AtLeast > d.Window && !v.bad["dead_letters.at_least"] && !v.bad["dead_letters.window"] {
		v.fail("dead_letters.at_least", "write at most the window", "%d of %d events can never be reached", d.AtLeast, d.Window)
	}
}

// deadLetterTopic resolves the topic of a pipeline, which is nobody else's: what
// lies in it is redriven by the contract of the pipeline, and what it holds is
// held for its events.
func (b *builder) deadLetterTopic(p *Pipeline, path, entry, own string) {
	if p.DeadLetterTopic = own; own == "" {
		p.DeadLetterTopic = DefaultDeadLetterTopic(b.cfg.Name, p.Name)
	} else if err := contract.CheckTopic(own); err != nil {
		b.fail(path, "write a topic name, such as "+DefaultDeadLetterTopic(b.cfg.Name, p.Name), "%q: %v", own, err)
		return
	}
	if p.DeadLetterTopic == b.cfg.CheckpointTopic {
		b.fail(path, "write another topic", "%s is the checkpoint topic", own)
		return
	}
	if first, taken := b.letters[p.DeadLetterTopic]; taken {
		b.fail(path, "write another topic under one of them", "topic %s is also the dead letter topic of %s (%s)", p.DeadLetterTopic, first, b.at(first))
		return
	}
	b.letters[p.DeadLetterTopic] = entry
	if p.Contract == nil {
		return
	}
	for _, t := range p.Contract.Topics() {
		if t.Name == p.DeadLetterTopic {
			b.fail(path, "write another topic", "topic %s is also that of an event of the contract", t.Name)
		}
	}
}

// lettersApart refuses a dead letter topic that is another pipeline's topic for
// events.
func (b *builder) lettersApart(all []Pipeline) {
	for _, p := range all {
		if p.Contract == nil {
			continue
		}
		for _, t := range p.Contract.Topics() {
			if owner, taken := b.letters[t.Name]; taken && owner != "databases."+p.Name {
				b.fail(owner+".dead_letter_topic", "write another topic", "topic %s is also that of an event of databases.%s", t.Name, p.Name)
			}
		}
	}
}

// DefaultDeadLetterTopic is <name>.<pipeline>.dead-letters. Names of relays and
// pipelines are legal in topics. One that is too long keeps its beginning and
// ends in a digest of the whole.
func DefaultDeadLetterTopic(name, pipeline string) string {
	const suffix = ".dead-letters"
	stem := name + "." + pipeline
	if len(stem)+len(suffix) <= contract.MaxTopicLength {
		return stem + suffix
	}
	sum := sha256.Sum256([]byte(stem))
	digest := "." + hex.EncodeToString(sum[:4]) + suffix
	return stem[:contract.MaxTopicLength-len(digest)] + digest
}
