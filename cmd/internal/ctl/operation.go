package ctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) operation() noun[v1.Operation, *v1.Operation] {
	return noun[v1.Operation, *v1.Operation]{app: a, key: "operation", filters: []filter{{"state", ""}, {"target", ""}}, columns: []column[v1.Operation]{
		stateColumn(func(o *v1.Operation) string { return string(o.Status.State) }),
		textColumn("type", always, func(o *v1.Operation) string { return string(o.Spec.Type) }),
		textColumn("target", always, func(o *v1.Operation) string { return first(o.Spec.Target.Name, v1.Short(o.Spec.Target.ID)) }),
		textColumn("actor", wideOnly, func(o *v1.Operation) string { return o.Spec.Actor }),
		textColumn("target-id", wideOnly, func(o *v1.Operation) string { return o.Spec.Target.ID }),
		{key: "step", level: wideOnly, value: currentStep, human: func(a *app, o *v1.Operation) string { return a.word("step", currentStep(o)) }},
		{key: "finished", level: wideOnly, value: func(o *v1.Operation) string { return finished(o) }},
		{key: "message", level: detailOnly, value: func(o *v1.Operation) string { return o.Status.Message }, human: func(a *app, o *v1.Operation) string { return a.said(o.Status.Message) }},
		{key: "error", level: detailOnly, value: func(o *v1.Operation) string { return errorText(o.Status.Error) }, human: func(a *app, o *v1.Operation) string { return a.errorText(o.Status.Error) }},
		{key: "steps", level: detailOnly, value: stepsText, human: func(a *app, o *v1.Operation) string { return a.stepsText(o) }},
	}}
}

func stateColumn[T any](state func(*T) string) column[T] {
	return column[T]{
		key: "state", value: state, colour: func(o *T) string { return phaseColour(state(o)) },
		human: func(a *app, o *T) string { return a.word("state", state(o)) },
	}
}

func currentStep(o *v1.Operation) string {
	if n := o.Status.Current; n >= 0 && n < len(o.Status.Steps) && !o.Status.State.Finished() {
		return o.Status.Steps[n].Name
	}
	return ""
}

func finished(o *v1.Operation) string {
	if o.Status.FinishedAt == nil {
		return ""
	}
	return stamp(*o.Status.FinishedAt)
}

func errorText(problem *v1.Problem) string {
	if problem == nil {
		return ""
	}
	return problem.Error()
}

func (a *app) errorText(problem *v1.Problem) string {
	if problem == nil {
		return ""
	}
	what, next := a.explainProblem(problem)
	return strings.TrimSpace(what + ". " + next)
}

func stepsText(o *v1.Operation) string {
	parts := make([]string, len(o.Status.Steps))
	for i, step := range o.Status.Steps {
		parts[i] = step.Name + "=" + string(step.State)
	}
	return strings.Join(parts, ",")
}

func (a *app) stepsText(o *v1.Operation) string {
	parts := make([]string, len(o.Status.Steps))
	for i, step := range o.Status.Steps {
		parts[i] = fmt.Sprintf("%d. %s (%s)", i+1, a.word("step", step.Name), a.word("state", string(step.State)))
		if step.Error != nil {
			parts[i] += ": " + a.errorText(step.Error)
		}
	}
	return strings.Join(parts, "; ")
}

func (a *app) operations() *cobra.Command {
	n := a.operation()
	act := func(name string) *cobra.Command {
		command := a.command(verb{key: "operation." + name, name: name, args: []string{"operation…"}, names: n.candidates(), run: func(ctx context.Context, ids []string) error {
			return n.each(ctx, ids, false, func(ctx context.Context, c *client.Client, id string) (client.Result[v1.Operation], error) {
				return client.Act[v1.Operation](ctx, c, client.Ref{ID: id}, name, nil)
			})
		}})
		return command
	}
	group := a.group("operation", "operation", "operations", "op")
	group.AddCommand(n.list(), n.show(), a.operationWait(n), act("cancel"), act("retry"), act("abandon"))
	return group
}

func (a *app) operationWait(n noun[v1.Operation, *v1.Operation]) *cobra.Command {
	return a.command(verb{key: "operation.wait", name: "wait", args: []string{"operation…"}, names: n.candidates(), run: func(ctx context.Context, ids []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		failures := make([]error, len(ids))
		for i, id := range ids {
			failures[i] = a.follow(ctx, c, id)
		}
		if ctx.Err() == nil {
			if err := a.printOperations(ctx, c, ids); err != nil {
				return err
			}
		}
		return a.firstOf(failures)
	}})
}

// printOperations prints operations as they are now.
func (a *app) printOperations(ctx context.Context, c *client.Client, ids []string) error {
	n := a.operation()
	var operations []*v1.Operation
	for _, id := range ids {
		operation, err := client.Get[v1.Operation](ctx, c, client.Ref{ID: id})
		if isCode(err, v1.CodeNotFound) {
			continue // waiting for it has said so
		}
		if err != nil {
			return err
		}
		operations = append(operations, operation)
	}
	if len(ids) == 1 && len(operations) == 1 {
		return n.printOne(ctx, operations[0], "")
	}
	if len(operations) == 0 {
		return nil
	}
	return n.printList(ctx, operations)
}
