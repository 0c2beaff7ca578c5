package sink

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// childVariable holds bootstrap, checkpoint topic and data topic for a process
// that is made to be killed.
const childVariable = "CDC_RELAY_SINK_TEST_CHILD"

// child is the other process of TestKilledProcess: it commits one batch as
// pipeline "lived", then leaves a transaction open as "lived" and as "unborn",
// says so, and waits to be killed.
func child() bool {
	args := strings.Split(os.Getenv(childVariable), " ")
	if len(args) != 3 {
		return false
	}
	if err := leaveOpen(context.Background(), args[0], args[1], args[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent kills us or is gone
	return true
}

func leaveOpen(ctx context.Context, bootstrap, cp, topic string) error {
	settings, err := kafka.NewSettings(map[string]string{"bootstrap.servers": bootstrap})
	if err != nil {
		return err
	}
	var sinks []*Sink
	for _, pipeline := range []string{"lived", "unborn"} {
		s := New(Options{Name: cp, Pipeline: pipeline, Settings: settings, CheckpointTopic: cp, Logger: slog.New(slog.DiscardHandler)})
		if _, err := restart(ctx, s); err != nil {
			return err
		}
		sinks = append(sinks, s)
	}
	if err := sinks[0].Commit(ctx, batch(topic, "whole", 10, 100)); err != nil {
		return err
	}
	for i, s := range sinks {
		if err := s.open1(ctx, batch(topic, fmt.Sprint("orphan-", i), 10, 200)); err != nil {
			return err
		}
	}
	return nil
}

// open1 does everything of a commit but the commit itself, so that the broker
// has all of it.
func (s *Sink) open1(ctx context.Context, b *event.Batch) error {
	p := s.producers[s.turn]
	if err := p.begin(); err != nil {
		return err
	}
	value, err := s.encode(s.identity.At(b.End))
	if err != nil {
		return err
	}
	if err := s.produce(ctx, p, b.Records, value); err != nil {
		return err
	}
	if left := p.p.Flush(10_000); left != 0 {
		return fmt.Errorf("%d records not delivered", left)
	}
	return nil
}

func TestKilledProcess(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 2, nil)
	killed(t, b, topic)

	// Whose checkpoint it is can be seen at once; that there is none cannot be
	// believed while a transaction may hide it.
	lived, unborn := b.sink("lived", nil), b.sink("unborn", nil)
	begin := time.Now()
	saved, err := lived.Look(t.Context())
	if err != nil || saved.Checkpoint().Last.Commit != 100 {
		t.Fatalf("look: %+v, %v", saved, err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a look at a visible checkpoint took %s", took)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if saved, err := unborn.Look(short); err == nil {
		t.Fatalf("an open transaction was taken for none: %+v", saved)
	}
	// The fence aborts what the dead left open, and then both answers are sure.
	begin = time.Now()
	for _, s := range []*Sink{unborn, lived} {
		if err := s.Fence(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if saved, err = lived.Read(t.Context()); err != nil || saved.Checkpoint().Last.Commit != 100 {
		t.Fatalf("read: %+v, %v", saved, err)
	}
	if saved, err = unborn.Read(t.Context()); err != nil || saved.Exists() {
		t.Fatalf("read: %+v, %v", saved, err)
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("taking over took %s, longer than a fence needs", took)
	}
	lived.Resume(event.Saved{State: event.StateStreaming})
	if err := lived.Commit(t.Context(), batch(topic, "again", 10, 200)); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.committed(topic) {
		if strings.HasPrefix(string(r.Value), "orphan") {
			t.Fatalf("visible: %s", r.Value)
		}
	}
}

// killed runs the child until its transactions are open and kills it.
func killed(t *testing.T, b bench, topic string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join([]string{b.bootstrap, b.cp, topic}, " "))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "open\n" {
		t.Errorf("the child said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed: an error by design
}
