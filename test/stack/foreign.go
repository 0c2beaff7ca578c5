package stack

import "context"

// foreign stands for parts this process did not start: nothing may be done to
// them, and nothing ends with the stack.
type foreign struct{}

func (foreign) start(context.Context, []int) error { return ErrNotOwned }
func (foreign) stop(context.Context, []int) error  { return ErrNotOwned }
func (foreign) kill([]int) error                   { return ErrNotOwned }
func (foreign) pause([]int) error                  { return ErrNotOwned }
func (foreign) resume([]int) error                 { return ErrNotOwned }
func (foreign) close() error                       { return nil }

type foreignPostgres struct{}

func (foreignPostgres) start(context.Context) error        { return ErrNotOwned }
func (foreignPostgres) stop(context.Context, string) error { return ErrNotOwned }
func (foreignPostgres) kill() error                        { return ErrNotOwned }
func (foreignPostgres) pause() error                       { return ErrNotOwned }
func (foreignPostgres) resume() error                      { return ErrNotOwned }
func (foreignPostgres) close() error                       { return nil }

type foreignRegistry struct{}

func (foreignRegistry) start(context.Context) error { return ErrNotOwned }
func (foreignRegistry) stop() error                 { return ErrNotOwned }
func (foreignRegistry) close() error                { return nil }
