package config

import (
	"errors"
	"fmt"
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
// files the string names.
func parsePostgres(s string) error {
	_, err := pgconn.ParseConfig(s)
	if err == nil {
		return nil
	}
	if pe, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		_, why, _ := strings.Cut(redactURL(pe.Error()), "`: ")
		return fmt.Errorf("%s", why)
	}
	return errors.New(redactURL(err.Error()))
}

var (
	urlPassword   = regexp.MustCompile(`(?s)://([^:/?#@]*):(.*)@`)
	pairPassword  = regexp.MustCompile(`(?i)((?:ssl)?pass(?:word|phrase)?\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)`)
	redactedPairs = "${1}" + hidden
)

// redactURL hides the passwords of a URL or a keyword=value string. It rather
// hides too much: everything up to the last @.
func redactURL(s string) string {
	s = urlPassword.ReplaceAllString(s, "://${1}:"+hidden+"@")
	return pairPassword.ReplaceAllString(s, redactedPairs)
}
