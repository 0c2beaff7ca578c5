package doctor

import (
	"errors"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// ClaimCheck judges the object storage at base: err is what came of writing and
// reading one small object, used says that a contract needs it.
func ClaimCheck(base string, err error, used bool) []Finding {
	f := Finding{Level: OK, Check: "bucket", What: base + " can be written and read"}
	switch {
	case err != nil:
		f = Finding{Level: Fail, Check: "bucket", What: err.Error(), Do: "check claim_check.bucket, its credentials and the network from this host"}
		if fault, ok := errors.AsType[*event.Fault](err); ok && fault.Do != "" {
			f.Do = fault.Do
			bare := *fault
			bare.Do = ""
			f.What = bare.Error()
		}
		if !used {
			f.Level = Warn
		}
	case !used:
		f.Level, f.What = Warn, base+" is configured, and no event has a claim_check"
		f.Do = "write claim_check: {payload: true} or {fields: […]} on an event, or take the bucket out of the configuration"
	}
	return scoped("claim check", []Finding{f})
}
