package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// ownStack opens a stack beside the process's, with its lines in a buffer.
func ownStack(t *testing.T) (*Stack, *bytes.Buffer) {
	t.Helper()
	var lines bytes.Buffer
	s, err := open(&lines)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, &lines
}

func TestEmbeddedWorksAndSaysWhatItIs(t *testing.T) {
	t.Setenv(brokerVariable, "embedded")
	s, lines := ownStack(t)
	k, _, err := s.NewBroker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	topic := k.Topic(t, 3, nil)
	produce(t, k.Bootstrap(), topic, "before")
	if err := errors.Join(k.Stop(), k.Start()); err != nil {
		t.Fatal(err)
	}
	produce(t, k.Bootstrap(), topic, "after")
	if got := consume(t, k.Bootstrap(), topic, 2); len(got) != 2 {
		t.Fatal(got)
	}
	if err := k.Kill(); !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("Kill: %v", err)
	}
	r, _, err := s.NewRegistry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkCompatibility(t, r)
	if err := errors.Join(r.Stop(), r.Start()); err != nil {
		t.Fatal(err)
	}
	checkCompatibility(t, r)
	if n := strings.Count(lines.String(), "EMBEDDED"); n != 2 {
		t.Fatalf("%d warnings in:\n%s", n, lines)
	}
}

func TestEmbeddedRegistryLevels(t *testing.T) {
	t.Setenv(brokerVariable, "embedded")
	s, _ := ownStack(t)
	r, _, err := s.NewRegistry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		level         string
		broken, fewer bool // whether a field without default, and one removed, pass
	}{
		{"NONE", true, true},
		{"BACKWARD", false, true},
		{"BACKWARD_TRANSITIVE", false, true},
		{"FORWARD", true, false},
		{"FULL", false, false},
	}
	const fewer = `{"type":"record","name":"E","fields":[]}`
	for _, test := range tests {
		subject := "a b%/" + test.level
		path := "a%20b%25%2F" + test.level
		if !register(t, r, path, schemaV1) {
			t.Fatalf("%s: the first version is refused", subject)
		}
		if _, err := call(t.Context(), http.DefaultClient, http.MethodPut, r.URL()+"/config/"+path,
			fmt.Sprintf(`{"compatibility":%q}`, test.level)); err != nil {
			t.Fatal(err)
		}
		if got := compatible(t, r, path, schemaBroken); got != test.broken {
			t.Errorf("%s: a field without default: %v", test.level, got)
		}
		if got := compatible(t, r, path, fewer); got != test.fewer {
			t.Errorf("%s: a field less: %v", test.level, got)
		}
	}
}

// compatible asks without registering.
func compatible(t *testing.T, r *SR, subject, schema string) bool {
	t.Helper()
	body := fmt.Sprintf(`{"schema":%q}`, schema)
	got, err := call(t.Context(), http.DefaultClient, http.MethodPost, r.URL()+"/compatibility/subjects/"+subject+"/versions/latest", body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(got, `"is_compatible":true`)
}

// TestOwnWishesAreKept: what is shared refuses to be stopped, what is wrong is
// refused by name.
func TestOwnWishesAreKept(t *testing.T) {
	t.Setenv(Variable, "") // these tests may run within a stack themselves
	t.Setenv(brokerVariable, "embedded")
	s, _ := ownStack(t)
	k, err := s.sharedBroker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{k.Stop(), k.Start(), k.Kill(), k.Pause(), k.Resume()} {
		if !errors.Is(err, ErrNotOwned) {
			t.Errorf("a shared broker: %v", err)
		}
	}
	if again, err := s.sharedBroker(t.Context()); again != k || err != nil {
		t.Errorf("another shared broker: %v", err)
	}
	// What another process started comes from its environment.
	env, err := s.Env()
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(env, "=")
	t.Setenv(Variable, text)
	other, _ := ownStack(t)
	got, err := other.sharedBroker(t.Context())
	if err != nil || got.Bootstrap() != k.Bootstrap() || got.Kind() != "embedded" {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := got.Kill(); !errors.Is(err, ErrNotOwned) {
		t.Errorf("another process's broker: %v", err)
	}
	t.Setenv(brokerVariable, "rabbit")
	if _, _, err := s.NewBroker(t.Context()); err == nil || !strings.Contains(err.Error(), "rabbit") {
		t.Errorf("a kind that is none: %v", err)
	}
	if _, _, err := s.NewPostgres(t.Context(), Version(13)); err == nil || !strings.Contains(err.Error(), "13") {
		t.Errorf("a version that is none: %v", err)
	}
}

// TestOnlyWhatIsMissingIsReplaced: the next way is for what a machine lacks. A
// part that is there and fails must not turn the tests into tests of another.
func TestOnlyWhatIsMissingIsReplaced(t *testing.T) {
	t.Parallel()
	broken, missing := errors.New("broken"), errors.New("missing")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"missing", fmt.Errorf("%w: %w", errUnavailable, missing), "second"},
		{"cannot do it", errors.ErrUnsupported, "second"},
		{"broken", broken, ""},
	}
	for _, test := range tests {
		s, lines := ownStack(t)
		got, err := firstOf(t.Context(), s, "part", []way[string]{
			{"a", "it is first", func(context.Context) (string, error) { return "", test.err }},
			{"b", "a is missing", func(context.Context) (string, error) { return "second", nil }},
		})
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: got %q, %v", test.name, got, err)
		}
		if said := strings.Contains(lines.String(), "part: b, because a is missing"); said != (test.want != "") {
			t.Errorf("%s: said %s", test.name, lines)
		}
	}
}

// TestExternalPartsAreTaken gives one stack the addresses of another's parts.
func TestExternalPartsAreTaken(t *testing.T) {
	t.Setenv(brokerVariable, "embedded")
	owner, _ := ownStack(t)
	k, err := owner.sharedBroker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := owner.sharedRegistry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pg := Postgres(t)
	t.Setenv(brokerVariable, "")
	t.Setenv(bootstrapVariable, k.Bootstrap())
	t.Setenv(registryVariable, r.URL()+"/")
	t.Setenv(postgresVariable, pg.URL("postgres"))
	t.Setenv(Variable, "")
	s, err := Start(t.Context(), Options{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		checkCompatibility(t, r) // Close ended nothing of others
	}()
	if s.Kafka().Kind() != "external" || s.Kafka().Bootstrap() != k.Bootstrap() || s.Registry().URL() != r.URL() {
		t.Fatalf("got %+v", s.State())
	}
	if db := s.Postgres().Database(t); s.Postgres().Version() != pg.Version() || query(t, db, "select 'x'") != "x" {
		t.Fatalf("got %+v", s.State().Postgres)
	}
	if err := s.Postgres().Kill(); !errors.Is(err, ErrNotOwned) {
		t.Fatalf("Kill: %v", err)
	}
	topic := s.Kafka().Topic(t, 1, nil)
	produce(t, s.Kafka().Bootstrap(), topic, "x")
}
