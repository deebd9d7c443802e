package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// events is `coloa events`, and `coloa event list` for those who think of it as a noun.
func (a *app) events() *cobra.Command {
	command := a.eventList("events")
	command.Aliases = []string{"event"}
	command.AddCommand(a.eventList("list"))
	return command
}

func (a *app) eventList(name string) *cobra.Command {
	follow, since, limit, everywhere := false, "", 0, false
	command := a.command(verb{key: "events", name: name, run: func(ctx context.Context, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		query := client.EventsQuery{After: "0", All: everywhere}
		var from time.Time
		if since != "" {
			span, err := parseSpan(since)
			if err != nil {
				if from, err = a.parseMoment(since); err != nil {
					return err
				}
			} else {
				from = a.now().Add(-span)
			}
		}
		if follow {
			if since == "" {
				query.After = ""
			}
			return a.followEvents(ctx, c, query, from)
		}
		events, err := allEvents(ctx, c, query, from)
		if err != nil {
			return err
		}
		if limit > 0 && len(events) > limit {
			events = events[len(events)-limit:]
		}
		return a.printEvents(events)
	}})
	flags := command.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, a.T("flag.events.follow"))
	flags.StringVar(&since, "since", "", a.T("flag.events.since"))
	flags.IntVar(&limit, "limit", 0, a.T("flag.events.limit"))
	flags.BoolVarP(&everywhere, "all-projects", "A", false, a.T("flag.list.all"))
	return command
}

// allEvents reads what is kept, a page at a time.
func allEvents(ctx context.Context, c *client.Client, query client.EventsQuery, from time.Time) ([]v1.Event, error) {
	events := []v1.Event{}
	query.Limit = 1000
	for {
		page, err := c.ListEvents(ctx, query)
		if err != nil {
			return nil, err
		}
		for _, event := range page.Items {
			if !event.At.Before(from) {
				events = append(events, event)
			}
		}
		if len(page.Items) == 0 || page.Next == "" || page.Next == query.After {
			return events, nil
		}
		query.After = page.Next
	}
}

func (a *app) printEvents(events []v1.Event) error {
	names := make([]string, len(events))
	for i, event := range events {
		names[i] = event.ID
	}
	return a.print(result{data: events, names: names, sheet: func() *sheet {
		s := &sheet{columns: []heading{
			{key: "time"}, {key: "action"}, {key: "kind"}, {key: "name"}, {key: "actor", level: ifRoom}, {key: "note"},
			{key: "id", level: wideOnly, whole: true}, {key: "object-id", level: wideOnly, whole: true}, {key: "operation", level: wideOnly, whole: true},
		}}
		for _, event := range events {
			s.rows = append(s.rows, a.eventCells(event))
		}
		return s
	}})
}

func (a *app) eventCells(event v1.Event) []cell {
	same := func(text string) cell { return cell{machine: text, human: plain(text)} }
	return []cell{
		{machine: stamp(event.At), human: event.At.Local().Format("01-02 15:04:05")},
		{machine: string(event.Action), human: a.word("action", string(event.Action)), colour: actionColour(event.Action)},
		{machine: string(event.Object.Kind), human: a.word("kind", string(event.Object.Kind))},
		{machine: event.Object.Name, human: plain(first(event.Object.Name, v1.Short(event.Object.ID)))},
		same(event.Actor), {machine: event.Note, human: a.said(event.Note)}, same(event.ID), same(event.Object.ID), same(event.Operation),
	}
}

func actionColour(action v1.Action) string {
	switch action {
	case v1.ActionCreated:
		return green
	case v1.ActionDeleted:
		return red
	}
	return noColour
}

// followEvents prints events as they happen: a line each, or a JSON text a line.
func (a *app) followEvents(ctx context.Context, c *client.Client, query client.EventsQuery, from time.Time) error {
	err := c.Events(ctx, query, func(event v1.Event) error {
		if event.At.Before(from) {
			return nil
		}
		return a.printEvent(event)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (a *app) printEvent(event v1.Event) error {
	switch {
	case a.flags.jq != "":
		return a.query(event)
	case a.flags.output == formJSON:
		line, err := toJSON(event, "")
		if err != nil {
			return err
		}
		return a.write(string(line))
	case a.flags.output == formYAML:
		if err := a.write("---\n"); err != nil {
			return err
		}
		return a.print(result{data: event})
	case a.flags.output == formName:
		return a.write(plain(event.ID) + "\n")
	}
	cells := a.eventCells(event)
	if a.flags.output == formCSV {
		parts := make([]string, len(cells))
		for i, cell := range cells {
			parts[i] = cell.machine
		}
		return a.writeCSV(parts)
	}
	line := fmt.Sprintf("%s  %s  %s  %s  %s", cells[0].human, a.screen.paint(cells[1].colour, pad(cells[1].human, 8)), pad(cells[2].human, 16), pad(cells[3].human, 24), cells[5].human)
	return a.write(strings.TrimRight(line, " ") + "\n")
}

func pad(word string, width int) string {
	return word + strings.Repeat(" ", max(0, width-text.StringWidth(word)))
}
