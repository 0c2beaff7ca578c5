package config

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Connection strings are cut by hand, not with net/url: they may name several
// hosts (h1:5432,h2:5432), and what is not the database must stay as it is.

// urlParts cuts a postgres:// URL into scheme with authority, path and query.
func urlParts(s string) (authority, path, query string, ok bool) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found || scheme != "postgres" && scheme != "postgresql" {
		return "", "", "", false
	}
	rest, query, _ = strings.Cut(rest, "?")
	host, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + host, path, query, true
}

// databaseOf is the database a connection string names, else PGDATABASE, else
// "".
func databaseOf(s string, lookup func(string) (string, bool)) (string, error) {
	name := ""
	switch _, path, query, ok := urlParts(s); {
	case ok:
		p, err := url.PathUnescape(path)
		if err != nil {
			return "", errors.New("the part after the host has a % that encodes nothing")
		}
		q, err := url.ParseQuery(query)
		if err != nil {
			return "", errors.New("the part after ? is not made of name=value pairs")
		}
		name = p
		for _, k := range []string{"database", "dbname"} {
			if v := q.Get(k); v != "" {
				name = v
			}
		}
	case strings.Contains(s, "://"):
		return "", errors.New("the scheme is neither postgres nor postgresql")
	case strings.TrimSpace(s) != "" && !strings.Contains(s, "="):
		return "", errors.New("it is neither a URL nor keyword=value pairs")
	default:
		if m := dsnDatabase.FindAllStringSubmatch(s, -1); m != nil {
			last := m[len(m)-1]
			name = unquote.Replace(last[1]) + last[2]
		}
	}
	if v, set := lookup("PGDATABASE"); name == "" && set {
		name = v
	}
	return name, nil
}

var (
	dsnDatabase = regexp.MustCompile(`(?:^|\s)(?:dbname|database)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s']+))`)
	unquote     = strings.NewReplacer(`\\`, `\`, `\'`, `'`)
	quote       = strings.NewReplacer(`\`, `\\`, `'`, `\'`)
)

// withDatabase is the connection string s for another database.
func withDatabase(s, database string) string {
	authority, _, query, ok := urlParts(s)
	switch {
	case strings.TrimSpace(s) == "":
		return "postgres:///" + url.PathEscape(database)
	case !ok: // of a keyword written twice the last counts
		return s + " dbname='" + quote.Replace(database) + "'"
	}
	var keep []string
	for pair := range strings.SplitSeq(query, "&") {
		k, _, _ := strings.Cut(pair, "=")
		if k != "" && k != "dbname" && k != "database" {
			keep = append(keep, pair)
		}
	}
	out := authority + "/" + url.PathEscape(database)
	if len(keep) > 0 {
		out += "?" + strings.Join(keep, "&")
	}
	return out
}

// parsePostgres asks the driver, which also reads the PG* variables and the
// files the string names. What the driver quotes of the string is left out: it
// may be a piece of a password.
func parsePostgres(s string) error {
	_, err := pgconn.ParseConfig(s)
	if err == nil {
		return nil
	}
	why := err.Error()
	if i := strings.LastIndex(why, "`: "); i >= 0 {
		why = why[i+len("`: "):]
	}
	return errors.New(quoted.ReplaceAllString(redactURL(why), "…"))
}

var (
	quoted        = regexp.MustCompile(`"[^"]*"`)
	urlPassword   = regexp.MustCompile(`(?s)://([^:/?#@]*):(.*)@`)
	queryPassword = regexp.MustCompile(`(?i)([?&][a-z_]*pass[a-z]*=)[^&]+`)
	pairPassword  = regexp.MustCompile(`(?i)[a-z_]*pass[a-z]*\s*=\s*`)
	pairQuoted    = regexp.MustCompile(`^'(?:[^'\\]|\\.)*'`)
	pairNext      = regexp.MustCompile(`\s[a-z_]+\s*=`)
)

// redactURL hides the passwords of a URL or of keyword=value pairs. It rather
// hides too much: of a URL everything up to the last @, of pairs everything up
// to the next keyword.
func redactURL(s string) string {
	if strings.Contains(s, "://") {
		s = urlPassword.ReplaceAllString(s, "://${1}:"+hidden+"@")
		return queryPassword.ReplaceAllString(s, "${1}"+hidden)
	}
	var b strings.Builder
	for {
		at := pairPassword.FindStringIndex(s)
		if at == nil {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:at[1]] + hidden)
		s = s[at[1]:]
		if q := pairQuoted.FindString(s); q != "" {
			s = s[len(q):]
		} else if next := pairNext.FindStringIndex(s); next != nil && !strings.HasPrefix(s, "'") {
			s = s[next[0]:]
		} else {
			s = ""
		}
	}
}
