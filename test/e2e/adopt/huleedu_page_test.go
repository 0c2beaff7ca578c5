package adopt

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// The commands of docs/migration.md, run as a reader would run them. Of a shell
// there is only as much as they need: variables, quotes, comments. psql runs on
// the test's own connection, because not every Postgres comes with one.

const migrationPage = "docs/migration.md"

// block is an example of the page with the variables of the service in hand.
func (s *school) block(name string) string {
	s.Helper()
	text, err := rig.Example(migrationPage, name)
	s.Check(err)
	return text
}

// choose sets the page's variables for a service.
func (s *school) choose(o *oldService) {
	s.Helper()
	s.vars = map[string]string{}
	for line := range strings.Lines(s.block("variables")) {
		name, value, ok := strings.Cut(line, "=")
		if words, err := words(value, nil); ok && err == nil && len(words) > 0 {
			s.vars[name] = words[0]
		}
	}
	if s.vars["DB"] != "cj_assessment" || s.vars["SLOT"] != "cdc_relay_huleedu_cj_assessment" || s.vars["GIVEN_UP"] != "retry_count >= 5" {
		s.Fatalf("the page's variables: %v", s.vars)
	}
	s.vars["DB"], s.vars["SLOT"] = o.name, "cdc_relay_huleedu_"+o.name
	s.vars["TABLE"], s.vars["MARK"], s.vars["GIVEN_UP"] = o.table, o.mark, o.givenUp
	maps.Copy(s.vars, s.known)
	// What take_over printed, once it did.
	row := o.db.QueryRow(s.Ctx(time.Minute), "select since, until from cdc_relay_handover.taken")
	var since, until string
	if row.Scan(&since, &until) == nil {
		s.vars["SINCE"], s.vars["UNTIL"] = since, until
	}
}

// follow runs a block of the page for a service. It ends at the first statement
// Postgres refuses; what cdc-relay says is for the caller to judge.
func (s *school) follow(o *oldService, name string) ([]*lab.Command, error) {
	s.Helper()
	s.choose(o)
	var done []*lab.Command
	for line := range strings.Lines(s.block(name)) {
		w, err := words(line, s.vars)
		s.Check(err)
		switch {
		case len(w) == 0:
		case w[0] == "psql":
			if err := s.psql(w[1:]); err != nil {
				return done, fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
			}
		case w[0] == "kafka-topics.sh":
			s.Check(s.kafkaTopics(w[1:]))
		case w[0] == "cdc-relay" && w[len(w)-1] == "run":
			s.start(w[1 : len(w)-1]...)
		case w[0] == "cdc-relay":
			var out string
			if i := len(w) - 2; w[i] == ">" {
				out, w = w[i+1], w[:i]
			}
			c := s.relayed(w[1:]...)
			if done = append(done, c); out != "" {
				s.Check(os.WriteFile(filepath.Join(s.Dir, out), []byte(c.Out), 0o600))
			}
		default:
			s.Fatalf("%s, %s: %q is no command this test knows", migrationPage, name, line)
		}
	}
	return done, nil
}

// followed is follow where everything succeeds.
func (s *school) followed(o *oldService, name string) {
	s.Helper()
	done, err := s.follow(o, name)
	if err != nil {
		s.Fatalf("%s: %v", o.name, err)
	}
	for _, c := range done {
		c.Exits(0)
	}
}

// kafkaTopics understands --bootstrap-server B --create or --delete --topic T.
func (s *school) kafkaTopics(args []string) error {
	switch {
	case len(args) == 7 && args[2] == "--create" && args[3] == "--topic" && args[5] == "--partitions":
		return s.Kafka.CreateTopic(s.Ctx(time.Minute), args[4], 3, nil)
	case len(args) == 5 && args[2] == "--delete" && args[3] == "--topic":
		return s.Kafka.DeleteTopic(s.Ctx(time.Minute), args[4])
	}
	return fmt.Errorf("kafka-topics.sh %q", args)
}

// psql understands -d DATABASE with -c SQL or -f FILE.
func (s *school) psql(args []string) error {
	if len(args) != 4 || args[0] != "-d" || s.services[args[1]] == nil {
		return fmt.Errorf("psql %q", args)
	}
	sql := args[3]
	if args[2] == "-f" {
		text, err := os.ReadFile(filepath.Join(rig.Root(), args[3]))
		if err != nil {
			return err
		}
		sql = string(text)
	}
	return s.services[args[1]].exec(s.Lab, sql)
}

// exec runs SQL of several statements on a connection of its own.
func (o *oldService) exec(l *lab.Lab, sql string) error {
	c, err := pgx.Connect(l.Ctx(time.Minute), l.PG.URL(o.name))
	if err != nil {
		return err
	}
	_, err = c.PgConn().Exec(l.Ctx(time.Minute), sql).ReadAll()
	return errors.Join(err, c.Close(l.Context()))
}

// words splits a line as a shell does: words in double quotes with variables, in
// single quotes as they are, # a comment.
func words(line string, vars map[string]string) ([]string, error) {
	var out []string
	var word strings.Builder
	inside, quote := false, byte(0)
	flush := func() {
		if inside {
			out = append(out, word.String())
		}
		word.Reset()
		inside = false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == 0 && (c == ' ' || c == '\n' || c == '\t'):
			flush()
		case quote == 0 && c == '#' && !inside:
			return out, nil
		case quote == 0 && (c == '"' || c == '\''):
			quote, inside = c, true
		case quote != 0 && c == quote:
			quote = 0
		case c == '$' && quote != '\'':
			name, length := variable(line[i+1:])
			value, ok := vars[name]
			if !ok {
				return nil, fmt.Errorf("%q: no variable %q", line, name)
			}
			word.WriteString(value)
			inside, i = true, i+length
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	flush()
	if quote != 0 {
		return nil, fmt.Errorf("%q: a quote is not closed", line)
	}
	return out, nil
}

// variable is the name at the beginning of text, NAME or {NAME}, and its length.
func variable(text string) (string, int) {
	if rest, ok := strings.CutPrefix(text, "{"); ok {
		name, _, _ := strings.Cut(rest, "}")
		return name, len(name) + 2
	}
	n := 0
	for n < len(text) && (text[n] == '_' || text[n] >= 'A' && text[n] <= 'Z' || text[n] >= '0' && text[n] <= '9') {
		n++
	}
	return text[:n], n
}
