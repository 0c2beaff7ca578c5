package fleet

import (
	"context"
	"errors"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/topics"
)

// Doctor asks Postgres, Kafka and the registry for everything a start depends
// on, and judges it with the guards a start uses. It touches nothing but one small
// object in the claim check's bucket, if there is one.
//
// The slots are read before the checkpoints and the standbys after them, so that
// a relay at work meanwhile makes no slot look ahead of its checkpoint, and no
// standby behind it.
func (f *Fleet) Doctor(ctx context.Context) []doctor.Finding {
	servers := map[string]server{}
	for _, p := range f.Config.Pipelines() {
		servers[p.Name] = f.ask(ctx, p)
	}
	mayCreate := f.Config.Environment.MayCreate()
	facts, saved := f.kafkaFacts(ctx)
	findings := doctor.Kafka(facts, mayCreate)
	if f.ids != nil {
		findings = append(findings, doctor.Registry(f.registryFacts(ctx), mayCreate)...)
	}
	findings = append(findings, f.claimFindings(ctx)...)
	need := needed(servers)
	for _, p := range f.Config.Pipelines() {
		s, known := saved[p.Name]
		findings = append(findings, f.postgres(ctx, p, servers[p.Name], s, !known, mayCreate, need)...)
	}
	return findings
}

// server is what one pipeline's server said, or why it did not.
type server struct {
	facts event.Facts
	hints replication.Hints
	err   error
}

func (f *Fleet) ask(ctx context.Context, p config.Pipeline) (s server) {
	src := replication.New(f.unit(p).source())
	defer func() { s.err = errors.Join(s.err, src.Close(context.WithoutCancel(ctx))) }()
	if s.facts, s.err = src.Look(ctx); s.err == nil {
		s.hints, s.err = src.Hints(ctx)
	}
	return s
}

// capacity counts the slots the pipelines still lack, per server.
type capacity map[string]struct{ slots, senders int }

func needed(servers map[string]server) capacity {
	need := capacity{}
	for _, s := range servers {
		if s.err != nil {
			continue // said where the pipeline is judged
		}
		n := need[s.facts.SystemID]
		if !s.facts.Slot.Exists {
			n.slots++
		}
		if s.facts.Slot.ActivePID == 0 {
			n.senders++
		}
		need[s.facts.SystemID] = n
	}
	return need
}

func (f *Fleet) postgres(ctx context.Context, p config.Pipeline, s server, saved event.Saved, unknown, mayCreate bool, need capacity) []doctor.Finding {
	var standbys event.Failover
	err := s.err
	if err == nil {
		standbys, err = f.standbys(ctx, p)
	}
	if err != nil {
		return []doctor.Finding{{Level: doctor.Fail, Scope: p.Name, Check: "connection", What: err.Error(),
			Do: "check the URL, pg_hba.conf and the network from this host: psql \"URL\" -c 'select 1'"}}
	}
	u, h := f.unit(p), s.hints
	n := need[s.facts.SystemID]
	findings := doctor.Postgres(s.facts, doctor.Wants{
		Guard: doctor.Guard{Pipeline: p.Name, Slot: p.Slot, Publication: p.Publication, Options: u.source().Fingerprint()},
		Hints: doctor.Hints{Host: h.Host, Port: h.Port, Settings: h.Settings, Functions: h.Functions, Roles: h.Roles},
		Saved: saved, SavedUnknown: unknown, NewSlots: n.slots, NewSenders: n.senders,
		SynchronousStandbyNames: h.SynchronousStandbyNames, ApplicationName: u.source().ApplicationName,
		Failover:  standbys,
		MayCreate: mayCreate,
	})
	return append(findings, mapped(p, s.facts)...)
}

// mapped judges whether the mapping fits the table. It is no guard of a start:
// what is still in the log was written for the columns of its time.
func mapped(p config.Pipeline, facts event.Facts) []doctor.Finding {
	var out []doctor.Finding
	for _, t := range facts.Tables {
		misfits := p.Mapping.Misfits(t)
		for _, m := range misfits {
			level := doctor.Warn
			if m.Fatal {
				level = doctor.Fail
			}
			out = append(out, doctor.Finding{Level: level, Scope: p.Name, Check: "mapping", What: m.What, Do: m.Do})
		}
		if len(misfits) == 0 && t.Exists && p.Mapping.Custom() {
			out = append(out, doctor.Finding{Level: doctor.OK, Scope: p.Name, Check: "mapping", What: "every field finds its column in " + t.Name})
		}
	}
	return out
}

func (f *Fleet) standbys(ctx context.Context, p config.Pipeline) (o event.Failover, err error) {
	src := replication.New(f.unit(p).source())
	defer func() { err = errors.Join(err, src.Close(context.WithoutCancel(ctx))) }()
	return src.Failover(ctx)
}

// kafkaFacts asks the cluster, and for every pipeline's checkpoint where that
// can be read.
func (f *Fleet) kafkaFacts(ctx context.Context) (doctor.KafkaFacts, map[string]event.Saved) {
	facts := doctor.KafkaFacts{Bootstrap: f.settings.Bootstrap()}
	saved := map[string]event.Saved{}
	client, err := kafka.Open(f.settings, f.Log)
	if err != nil {
		facts.Err = err
		return facts, saved
	}
	defer client.Close()
	if facts.ClusterID, facts.Brokers, facts.Err = client.Cluster(ctx); facts.Err != nil {
		return facts, saved
	}
	names := []string{f.Config.CheckpointTopic}
	for _, p := range f.Config.Pipelines() {
		names = append(names, f.unit(p).topicNames()...)
	}
	all, err := client.Topics(ctx, names...)
	if err != nil {
		facts.Err = err
		return facts, saved
	}
	facts.Checkpoint = doctor.KafkaTopic(all[f.Config.CheckpointTopic])
	told := map[string]bool{f.Config.CheckpointTopic: true}
	for _, n := range names {
		if !told[n] {
			facts.Topics = append(facts.Topics, doctor.KafkaTopic(all[n]))
			told[n] = true
		}
	}
	if facts.DeadLetters, facts.Err = f.deadLetterFacts(ctx, client); facts.Err != nil {
		return facts, saved
	}
	facts.Drift = f.drift(all)
	if !facts.Checkpoint.Exists {
		for _, p := range f.Config.Pipelines() {
			saved[p.Name] = event.Saved{} // no topic, no checkpoint
		}
		return facts, saved
	}
	for _, p := range f.Config.Pipelines() {
		if s, err := f.checkpoint(ctx, p); err == nil {
			saved[p.Name] = s
		} else {
			facts.Unread = append(facts.Unread, named(p.Name, err).Error())
		}
	}
	return facts, saved
}

// drift is what a start would find in the topics as they are, or, where it may
// change them, as it would leave them.
func (f *Fleet) drift(all map[string]kafka.Topic) (out []doctor.TopicDrift) {
	seen := map[topics.Drift]bool{}
	for _, p := range f.Config.Pipelines() {
		for _, w := range f.unit(p).wanted() {
			h := has(all[w.Name])
			if f.Config.Environment.MayCreate() {
				h = topics.Mended(w, h)
			}
			for _, d := range topics.Drifts(w, h, int(f.Config.MaxEventBytes)) {
				if !seen[d] {
					seen[d] = true
					out = append(out, doctor.TopicDrift{Topic: d.Topic, What: d.What, Refused: d.Grave && f.Config.Topics.Refuses()})
				}
			}
		}
	}
	return out
}

// registryFacts asks for the id of each schema on its own, so that one missing
// does not hide the others.
func (f *Fleet) registryFacts(ctx context.Context) doctor.RegistryFacts {
	facts := doctor.RegistryFacts{URL: f.ids.URL()}
	var all []registry.Want
	for _, p := range f.Config.Pipelines() {
		wants, err := f.unit(p).wants()
		if err != nil {
			facts.Subjects = append(facts.Subjects, doctor.RegistrySubject{Subject: p.Name, Err: err})
			continue
		}
		all = append(all, wants...)
	}
	all = registry.Distinct(all)
	checks, err := f.checkSchemas(ctx, all)
	if err != nil {
		facts.Err, facts.Subjects = err, nil
		return facts
	}
	for i, w := range all {
		facts.Subjects = append(facts.Subjects, doctor.RegistrySubject{
			Subject: w.Subject, Schema: w.Name, Version: w.Version, ID: checks[i].ID, Err: checks[i].why(),
		})
	}
	return facts
}
