package registry_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/registry"
)

// A diamond: both lines refer to money.
var shop = map[string]string{
	"OrderV1.avsc": `{"type":"record","name":"OrderV1","namespace":"shop","fields":[{"name":"line","type":"Line"},{"name":"tax","type":"shop.base.Tax"},{"name":"lines","type":{"type":"array","items":"Line"}}]}`,
	"Line.avsc":    `{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"price","type":"shop.base.Money"}]}`,
	"Tax.avsc":     `{"type":"record","name":"Tax","namespace":"shop.base","fields":[{"name":"amount","type":"Money"}]}`,
	"Money.avsc":   `{"type":"enum","name":"Money","namespace":"shop.base","symbols":["SEK"]}`,
}

func TestWants(t *testing.T) {
	t.Parallel()
	s, err := registry.LoadSchemas(folder(shop))
	if err != nil {
		t.Fatal(err)
	}
	complete, _ := s.Schema("Order", 1)
	inline := s.Wants("t-value", "Order", 1, false)
	if len(inline) != 1 || inline[0].Schema != complete || inline[0].Self() != complete || inline[0].Label() != "OrderV1" {
		t.Errorf("inline: %+v", inline)
	}
	all := s.Wants("t-value", "Order", 1, true)
	var got []string
	for _, w := range all {
		line := w.Subject + ":"
		for _, n := range w.Needs {
			line += " " + n.Name
		}
		got = append(got, line)
	}
	want := []string{"shop.base.Money:", "shop.Line: shop.base.Money", "shop.base.Tax: shop.base.Money", "t-value: shop.Line shop.base.Tax"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	root := all[3]
	if root.Schema != `{"type":"record","name":"OrderV1","namespace":"shop","fields":[{"type":"shop.Line","name":"line"},{"type":"shop.base.Tax","name":"tax"},{"type":{"type":"array","items":"shop.Line"},"name":"lines"}]}` || root.Self() != complete {
		t.Errorf("root %+v", root)
	}
	if s.Wants("t-value", "Order", 2, true) != nil || s.FullName("Order", 1) != "shop.OrderV1" || s.FullName("Order", 2) != "" {
		t.Error("a version that is not there")
	}
	if text, ok := s.Plain("Money"); !ok || !strings.Contains(text, `"SEK"`) {
		t.Errorf("Money: %s, %t", text, ok)
	}
	if _, ok := s.Plain("OrderV1"); ok {
		t.Error("OrderV1 has a version")
	}
	if n := len(registry.Distinct(append(all, s.Wants("u-value", "Order", 1, true)...))); n != 5 {
		t.Errorf("%d distinct, want 5", n)
	}
}

// Versions of one schema may all be called alike, and define what is in them
// each in their own way.
func TestVersionsOfOneName(t *testing.T) {
	t.Parallel()
	version := func(field, inner string) string {
		return `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"l","type":{"type":"record","name":"Line","fields":[{"name":"` + inner + `","type":"int"}]}},` +
			`{"name":"parent","type":["null","Order"]},{"name":"` + field + `","type":"Line"}]}`
	}
	files := map[string]string{"OrderV1.avsc": version("a", "x"), "OrderV2.avsc": version("b", "y")}
	s, err := registry.LoadSchemas(folder(files))
	if err != nil {
		t.Fatal(err)
	}
	one, _ := s.Schema("Order", 1)
	two, _ := s.Schema("Order", 2)
	if !strings.Contains(one, `"name":"x"`) || !strings.Contains(two, `"name":"y"`) || s.FullName("Order", 2) != "shop.Order" {
		t.Errorf("%s\n%s", one, two)
	}
	files["BasketV1.avsc"] = `{"type":"record","name":"BasketV1","namespace":"shop","fields":[{"name":"order","type":"Order"}]}`
	if _, err := registry.LoadSchemas(folder(files)); err == nil || !strings.Contains(err.Error(), "shop.Order is defined differently in OrderV1.avsc and OrderV2.avsc") {
		t.Errorf("an ambiguous type: %v", err)
	}
	delete(files, "BasketV1.avsc")
	files["LineV1.avsc"] = `{"type":"record","name":"Line","namespace":"shop","fields":[]}`
	if _, err := registry.LoadSchemas(folder(files)); err == nil || !strings.Contains(err.Error(), "defined here and, otherwise, in LineV1.avsc") {
		t.Errorf("two schemas define a type otherwise: %v", err)
	}
}

// book is a registry that keeps what it is given and demands that references
// are there; it has no opinion on compatibility. A fake: what is tested is the
// order of our requests.
type book struct {
	mu       sync.Mutex
	subjects map[string][]string // texts
	refs     map[string][]map[string]any
	posted   []string
}

func (b *book) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var body struct {
		Schema     string
		References []map[string]any
	}
	raw, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(raw, &body)
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	answer := func(status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	missing := map[string]any{"error_code": 40403, "message": "not found"}
	if parts[0] == "schemas" {
		answer(200, map[string]any{"schema": `"string"`})
		return
	}
	subject := parts[1]
	if parts[0] == "compatibility" {
		answer(404, missing)
		return
	}
	at := slices.Index(b.subjects[subject], body.Schema)
	switch {
	case r.Method == http.MethodGet && len(parts) == 3:
		var numbers []int
		for i := range b.subjects[subject] {
			numbers = append(numbers, i+1)
		}
		if numbers == nil {
			answer(404, missing)
			return
		}
		answer(200, numbers)
	case r.Method == http.MethodGet:
		var n int
		_, _ = fmt.Sscan(parts[3], &n)
		answer(200, map[string]any{"id": len(subject)*100 + n, "version": n, "subject": subject, "schema": b.subjects[subject][n-1], "references": b.refs[subject]})
	case len(parts) == 2 && at < 0:
		answer(404, missing)
	case len(parts) == 2:
		answer(200, map[string]any{"id": len(subject)*100 + at + 1, "version": at + 1, "schema": body.Schema})
	default:
		for _, ref := range body.References {
			if len(b.subjects[fmt.Sprint(ref["subject"])]) < int(ref["version"].(float64)) {
				answer(422, map[string]any{"error_code": 42201, "message": "reference is not there"})
				return
			}
		}
		b.posted = append(b.posted, subject)
		b.subjects[subject] = append(b.subjects[subject], body.Schema)
		b.refs[subject] = body.References
		answer(200, map[string]any{"id": len(subject)*100 + len(b.subjects[subject])})
	}
}

// What others refer to is registered before them, by the version they get; a
// second time nothing is registered; and what is read back is complete.
func TestReferencesAreRegisteredFirst(t *testing.T) {
	t.Parallel()
	b := &book{subjects: map[string][]string{}, refs: map[string][]map[string]any{}}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	s, err := registry.LoadSchemas(folder(shop))
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, registry.Options{URL: srv.URL})
	wants := s.Wants("t-value", "Order", 1, true)
	states, err := c.States(t.Context(), wants, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, st := range states {
		if st.Err == nil || st.Err.Reason != registry.Missing {
			t.Errorf("%s: %+v", wants[i].Subject, st)
		}
	}
	if !strings.Contains(states[3].Err.Error(), "it refers to shop.Line (subject shop.Line), which is not registered either") {
		t.Error(states[3].Err)
	}
	if states, err = c.States(t.Context(), wants, true); err != nil {
		t.Fatal(err)
	}
	for i, st := range states {
		if st.Err != nil || !st.Fresh || st.Version != 1 {
			t.Errorf("%s: %+v", wants[i].Subject, st)
		}
	}
	if b.posted[0] != "shop.base.Money" || b.posted[3] != "t-value" {
		t.Errorf("registered in the order %v", b.posted)
	}
	if ids, err := c.Resolve(t.Context(), wants, true); err != nil || ids[3] != states[3].ID || len(b.posted) != 4 {
		t.Errorf("%v, %v, registered %v", ids, err, b.posted)
	}
	versions, err := c.Versions(t.Context(), "t-value")
	if err != nil || len(versions) != 1 || versions[0].Schema != wants[3].Self() {
		t.Errorf("read back: %+v, %v\nwant %s", versions, err, wants[3].Self())
	}
	if none, err := c.Versions(t.Context(), "nobody"); err != nil || none != nil {
		t.Errorf("%v, %v", none, err)
	}
}

// Wants of one subject are registered in their order, whatever else goes on.
func TestVersionsAreRegisteredInOrder(t *testing.T) {
	t.Parallel()
	b := &book{subjects: map[string][]string{}, refs: map[string][]map[string]any{}}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	var wants []registry.Want
	for v := 1; v <= 6; v++ {
		for _, topic := range []string{"a", "b", "c"} {
			wants = append(wants, registry.Want{Subject: topic, Name: "E", Version: v, Schema: fmt.Sprintf(`{"type":"enum","name":"E","symbols":["A%d"]}`, v)})
		}
	}
	states, err := client(t, registry.Options{URL: srv.URL}).States(t.Context(), wants, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, st := range states {
		if st.Err != nil || st.Version != wants[i].Version {
			t.Errorf("%s %s: %+v", wants[i].Subject, wants[i].Label(), st)
		}
	}
}

// Whether NONE is the subject's own word or nobody's, what the registry does tells.
func TestLevel(t *testing.T) {
	t.Parallel()
	const (
		none     = `200 {"compatibilityLevel":"NONE"}`
		backward = `200 {"compatibilityLevel":"BACKWARD"}`
		missing  = `404 {"error_code":40401,"message":"no subject"}`
	)
	for name, c := range map[string]struct {
		answers []string
		want    string
	}{
		"its own":              {[]string{backward}, "BACKWARD"},
		"no subject":           {[]string{missing, backward}, "BACKWARD"},
		"none everywhere":      {[]string{none, none}, "NONE"},
		"none on purpose":      {[]string{none, backward, `200 {"is_compatible":true}`}, "NONE"},
		"no rule of its own":   {[]string{none, backward, `200 {"is_compatible":false}`}, "BACKWARD"},
		"it cannot compare":    {[]string{none, backward, `422 {"error_code":42201,"message":"invalid Avro schema"}`}, "BACKWARD"},
		"nothing to compare":   {[]string{none, backward, missing}, "BACKWARD"},
		"it says no more then": {[]string{none, backward, `401 {}`}, ""},
		"nor at all":           {[]string{`403 {}`}, ""},
	} {
		_, url := serve(t, c.answers...)
		got, err := client(t, registry.Options{URL: url, Retries: -1}).Level(t.Context(), "t-value")
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}
