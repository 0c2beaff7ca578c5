package doctor

import "fmt"

// RegistryFacts are what the schema registry states.
type RegistryFacts struct {
	URL      string // without a password
	Err      error  // it could not be asked; Subjects is empty then
	Subjects []RegistrySubject
}

// RegistrySubject is one schema the contracts need.
type RegistrySubject struct {
	Subject string // <topic>-value
	Schema  string
	Version int   // of the relay's own numbering: the N of NameVN.avsc; 0: its name has none
	ID      int   // 0: not registered
	Err     error // it cannot be registered: incompatible, or refused
}

// Registry judges the registry and the schemas. mayRegister: the environment
// lets `run` register schemas at start.
func Registry(f RegistryFacts, mayRegister bool) []Finding {
	if f.Err != nil {
		return scoped("registry", []Finding{{Fail, "", "connection", fmt.Sprintf("the registry at %s cannot be asked: %v", f.URL, f.Err),
			"check registry.url, its credentials and the network from this host"}})
	}
	out := []Finding{{Level: OK, Check: "connection", What: f.URL}}
	for _, s := range f.Subjects {
		name := "subject " + s.Subject
		schema := fmt.Sprintf("%sV%d", s.Schema, s.Version)
		if s.Version == 0 {
			schema = s.Schema
		}
		switch {
		case s.Err != nil:
			out = append(out, Finding{Fail, "", name, fmt.Sprintf("%s: %v", schema, s.Err), "make the schema compatible with the versions the registry has, or add a new version of it"})
		case s.ID == 0 && mayRegister:
			out = append(out, Finding{Level: OK, Check: name, What: schema + " is not registered yet; cdc-relay run registers it at start in this environment"})
		case s.ID == 0:
			out = append(out, Finding{Fail, "", name, schema + " is not registered",
				"register it: a relay with environment: development does so at start, or POST /subjects/" + s.Subject + "/versions"})
		default:
			out = append(out, Finding{Level: OK, Check: name, What: fmt.Sprintf("%s has id %d", schema, s.ID)})
		}
	}
	return scoped("registry", out)
}
