package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/riferrei/srclient"
)

// State is what the registry has of one Want.
type State struct {
	ID      int    // 0: not registered
	Version int    // of the subject, as the registry counts
	Fresh   bool   // this call registered it
	Err     *Error // of this schema alone; Missing: it is not registered
}

// States finds every want on its own, and with register adds what is not there.
// Wants of one subject are taken one after the other, in their order, because
// each is compared with the one before it.
//
// The error, a *event.Fault, is about the registry itself: it cannot be asked.
func (c *Client) States(ctx context.Context, wants []Want, register bool) ([]State, error) {
	if c.badURL != nil {
		return nil, (&Error{Reason: Misconfigured, URL: c.shown, Detail: c.badURL.Error()}).fault()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out := make([]State, len(wants))
	first := map[string]int{} // key → the want it is
	for _, round := range rounds(wants) {
		var work sync.WaitGroup
		slots := make(chan struct{}, c.opts.Parallel)
		for _, i := range round {
			work.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				out[i] = c.state(ctx, wants[i], register, func(n Need) (State, bool) {
					at, ok := first[n.key()]
					if !ok {
						return State{}, false
					}
					return out[at], true
				})
				if e := out[i].Err; e != nil && e.general() {
					stop() // the others would only say the same
				}
			})
		}
		work.Wait()
		for _, i := range round {
			if _, ok := first[wants[i].key()]; !ok {
				first[wants[i].key()] = i
			}
		}
		if err := generalOf(out); err != nil {
			return nil, err.fault()
		}
	}
	return out, nil
}

// rounds are indices of wants that may be worked on at once: what a want needs,
// and what comes before it under its subject, is in an earlier round.
func rounds(wants []Want) [][]int {
	depth := map[string]int{}   // key → round
	subject := map[string]int{} // subject → first free round
	var out [][]int
	for i, w := range wants {
		at := subject[w.Subject]
		for _, n := range w.Needs {
			at = max(at, depth[n.key()]+1)
		}
		if _, ok := depth[w.key()]; !ok {
			depth[w.key()] = at
		}
		subject[w.Subject] = at + 1
		for len(out) <= at {
			out = append(out, nil)
		}
		out[at] = append(out[at], i)
	}
	return out
}

// generalOf is the error that ended the work, if one did.
func generalOf(states []State) *Error {
	var errs []*Error
	for _, s := range states {
		if s.Err != nil {
			errs = append(errs, s.Err)
		}
	}
	if i := firstGeneral(errs); i >= 0 {
		return errs[i]
	}
	return nil
}

func (c *Client) state(ctx context.Context, w Want, register bool, of func(Need) (State, bool)) State {
	refs := make([]srclient.Reference, len(w.Needs))
	for i, n := range w.Needs {
		s, ok := of(n)
		if !ok || s.Err != nil {
			return State{Err: c.without(w, n, s.Err)}
		}
		refs[i] = srclient.Reference{Name: n.Name, Subject: n.Subject, Version: s.Version}
	}
	s, err := c.lookUp(ctx, w, refs)
	if err != nil && err.Reason == Missing && register {
		s, err = c.checkAndRegister(ctx, w, refs)
	}
	s.Err = err
	return s
}

// without is the error of a want whose reference is not there: of the same
// kind, so that a missing one does not look like a broken one.
func (c *Client) without(w Want, n Need, cause *Error) *Error {
	e := &Error{Reason: Missing, URL: c.shown, Subject: w.Subject, Schema: w.Label()}
	e.Detail = fmt.Sprintf("it refers to %s (subject %s), which is not registered either", n.Name, n.Subject)
	if cause != nil && cause.Reason != Missing {
		e.Reason, e.Detail = cause.Reason, fmt.Sprintf("it refers to %s (subject %s), which cannot be used", n.Name, n.Subject)
		e.Err = errors.New(cause.what())
	}
	return e
}
