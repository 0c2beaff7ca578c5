package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/internal/topics"
)

func (a *app) topics() *cobra.Command {
	c := &cobra.Command{Use: "topics", Short: "Compare the topics of the contract with the cluster's, create and alter them"}
	c.AddCommand(a.topicsPlan(), a.topicsApply())
	return c
}

func (a *app) topicsPlan() *cobra.Command {
	return &cobra.Command{
		Use: "plan", Short: "Print what apply would create and change; changes nothing", Args: cobra.NoArgs,
		Long: `plan compares every topic of every pipeline, and the checkpoint topic, with what
the cluster has: existence, and of an existing topic what its topic class names.
It changes nothing. Exit codes: 0 nothing to do, 5 there are changes, 3 a topic may
not be looked at.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			plan, err := f.PlanTopics(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.printPlan(&plan); err != nil {
				return err
			}
			return planned(&plan)
		},
	}
}

func (a *app) printPlan(p *topics.Plan) error {
	if a.output == "json" {
		return a.json(p)
	}
	_, err := fmt.Fprint(a.out, p.Text())
	return err
}

// planned is the exit code of a plan: half of one is no answer.
func planned(p *topics.Plan) error {
	if names := p.Unknown(); len(names) > 0 {
		return event.Refusef("grant Describe and DescribeConfigs on them to the relay's user", "some topics may not be looked at: %s", strings.Join(names, ", "))
	}
	if n := p.Changes(); n > 0 {
		return &fleet.ChangesError{N: n, Next: "cdc-relay topics apply"}
	}
	return nil
}

func (a *app) topicsApply() *cobra.Command {
	var moves, loses bool
	c := &cobra.Command{
		Use: "apply", Short: "Create what does not exist and alter what is not as its class says; never shrinks or deletes", Args: cobra.NoArgs,
		Long: `apply makes the changes that cdc-relay topics plan prints, and reads them back. It
creates topics, alters the settings their class names and, with
--accept-repartitioning, adds partitions. It never takes partitions away, moves
replicas or deletes a topic. A change that needs a flag that is not given is held
back (exit code 3); the others are made. It may be repeated, and run by two at once.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			var accept []topics.Flag
			if moves {
				accept = append(accept, topics.AcceptRepartitioning)
			}
			if loses {
				accept = append(accept, topics.AcceptDataLoss)
			}
			done, err := f.ApplyTopics(cmd.Context(), accept, func(topic string, c topics.Change) {
				if a.output == "text" {
					fmt.Fprintf(a.out, "%s: %s\n", topic, c)
				}
			})
			if done == nil {
				return err // nothing was looked at
			}
			if err := a.printApplied(done); err != nil {
				return err
			}
			return applied(done, err)
		},
	}
	c.Flags().BoolVar(&moves, "accept-repartitioning", false, "add partitions, although keys then go to other ones: the order of a key breaks at that point")
	c.Flags().BoolVar(&loses, "accept-data-loss", false, "make also those changes with which the brokers delete what they hold")
	return c
}

// applied is the error of an apply that held changes back.
func applied(done []fleet.Applied, err error) error {
	if err != nil {
		return fmt.Errorf("apply topics: %w", err)
	}
	var held []string
	left := topics.Plan{}
	for _, t := range done {
		if len(t.Held) > 0 {
			left.Topics = append(left.Topics, topics.Topic{Want: t.Want, Changes: t.Held})
		}
		for _, c := range t.Held {
			held = append(held, fmt.Sprintf("topic %q: %s (%s)", t.Name, c, c.Risk))
		}
	}
	if len(held) > 0 {
		do := "cdc-relay topics apply"
		for _, flag := range left.Needs() {
			do += " " + string(flag)
		}
		return event.Refusef(do, "held back: %s", strings.Join(held, "; "))
	}
	var blind topics.Plan
	for _, t := range done {
		blind.Topics = append(blind.Topics, topics.Topic{Want: t.Want, Unknown: t.Unknown})
	}
	return planned(&blind)
}

// topic is one topic as `topics apply` prints it. Partitions are those it has,
// or would be created with.
type topic struct {
	Name       string          `json:"topic"`
	Partitions int             `json:"partitions"` // that its class says
	State      string          `json:"state"`      // created, exists, altered, held back, unknown, not created, failed
	Made       []topics.Change `json:"made,omitempty"`
	Held       []topics.Change `json:"held_back,omitempty"`
	Never      []topics.Never  `json:"never,omitempty"`
	Error      string          `json:"error,omitempty"`
}

func (a *app) printApplied(done []fleet.Applied) error {
	if a.output == "json" {
		all := make([]topic, len(done))
		for i, t := range done {
			all[i] = topic{Name: t.Name, Partitions: t.Partitions, State: t.State(), Made: t.Made, Held: t.Held, Never: t.Never}
			if t.Err != nil {
				all[i].Error = t.Err.Error()
			}
		}
		return a.json(all)
	}
	var rows [][]any
	for _, t := range done {
		rows = append(rows, []any{t.Name, t.Partitions, t.State()})
	}
	return a.table("TOPIC PARTITIONS STATE", rows)
}
