package ctl

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
)

// contexts are the commands about the user's own configuration. They ask no controller.
func (a *app) contexts() *cobra.Command {
	group := a.group("context", "context", "contexts")
	group.AddCommand(a.contextList(), a.contextUse(), a.contextShow(), a.contextUpdate(), a.contextDelete())
	return group
}

// shownContext is a context without its secret.
type shownContext struct {
	Name      string   `json:"name"`
	Current   bool     `json:"current"`
	Endpoints []string `json:"endpoints"`
	User      string   `json:"user,omitempty"`
	Project   string   `json:"project,omitempty"`
	OwnCA     bool     `json:"ownCA"`
	LoggedIn  bool     `json:"loggedIn"`
}

func (a *app) shown(config *configuration, name string) shownContext {
	s := config.Contexts[name]
	current := first(a.flags.context, a.env("COLOA_CONTEXT"), config.Current)
	return shownContext{name, name == current, s.Endpoints, s.User, s.Project, s.CA != "", s.Token != ""}
}

func (a *app) contextSheet(list []shownContext) *sheet {
	s := &sheet{columns: []heading{{key: "current"}, {key: "name", whole: true}, {key: "endpoint"}, {key: "user"}, {key: "project"}, {key: "logged-in", level: ifRoom}}}
	for _, c := range list {
		mark, endpoints := "", strings.Join(c.Endpoints, ",")
		if c.Current {
			mark = "*"
		}
		s.rows = append(s.rows, []cell{
			{machine: boolText(c.Current), human: mark}, {machine: c.Name, human: plain(c.Name)}, {machine: endpoints, human: plain(endpoints)},
			{machine: c.User, human: plain(c.User)}, {machine: c.Project, human: plain(c.Project)},
			{machine: boolText(c.LoggedIn), human: a.T("word." + boolText(c.LoggedIn))},
		})
	}
	return s
}

func (a *app) contextList() *cobra.Command {
	return a.command(verb{key: "context.list", name: "list", aliases: []string{"ls"}, run: func(context.Context, []string) error {
		config, err := a.configuration()
		if err != nil {
			return err
		}
		list, names := []shownContext{}, slices.Sorted(maps.Keys(config.Contexts))
		for _, name := range names {
			list = append(list, a.shown(config, name))
		}
		return a.print(result{data: list, names: names, sheet: func() *sheet { return a.contextSheet(list) }})
	}})
}

func (a *app) contextShow() *cobra.Command {
	return a.command(verb{key: "context.show", name: "show", args: []string{"context?"}, names: a.contextCandidates, run: func(_ context.Context, args []string) error {
		config, name, err := a.findContext(args)
		if err != nil {
			return err
		}
		shown := a.shown(config, name)
		return a.print(result{data: shown, names: []string{name}, one: true, sheet: func() *sheet { return a.contextSheet([]shownContext{shown}) }})
	}})
}

func (a *app) contextUse() *cobra.Command {
	return a.command(verb{key: "context.use", name: "use", args: []string{"context"}, names: a.contextCandidates, run: func(_ context.Context, args []string) error {
		config, name, err := a.findContext(args)
		if err != nil {
			return err
		}
		config.Current = name
		return a.save(config)
	}})
}

// contextUpdate writes the global flags --endpoint and --project into a context.
func (a *app) contextUpdate() *cobra.Command {
	caFile := ""
	command := a.command(verb{key: "context.update", name: "update", args: []string{"context?"}, names: a.contextCandidates, run: func(_ context.Context, args []string) error {
		config, name, err := a.findContext(args)
		if err != nil {
			return err
		}
		chosen := config.Contexts[name]
		if a.flags.endpoint == "" && a.flags.project == "" && caFile == "" {
			return a.usage("error.nothing-to-change")
		}
		if endpoints := splitList(a.flags.endpoint); len(endpoints) > 0 {
			for _, endpoint := range endpoints {
				if _, err := client.ParseEndpoint(endpoint); err != nil {
					return err
				}
			}
			chosen.Endpoints = endpoints
		}
		if caFile != "" {
			if chosen.CA, err = a.readText(caFile, maxConfiguration/4); err != nil {
				return err
			}
		}
		chosen.Project = first(a.flags.project, chosen.Project)
		return a.save(config)
	}})
	command.Flags().StringVar(&caFile, "ca-file", "", a.T("flag.login.ca-file"))
	_ = command.RegisterFlagCompletionFunc("ca-file", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	return command
}

func (a *app) contextDelete() *cobra.Command {
	return a.command(verb{key: "context.delete", name: "delete", aliases: []string{"rm"}, args: []string{"context"}, names: a.contextCandidates, run: func(_ context.Context, args []string) error {
		config, name, err := a.findContext(args)
		if err != nil {
			return err
		}
		delete(config.Contexts, name)
		if config.Current == name {
			config.Current = ""
		}
		return a.save(config)
	}})
}

// findContext is the context of the argument, of --context, or the current one.
func (a *app) findContext(args []string) (*configuration, string, error) {
	config, err := a.configuration()
	if err != nil {
		return nil, "", err
	}
	name := first(append(slices.Clone(args), a.flags.context, a.env("COLOA_CONTEXT"), config.Current)...)
	if config.Contexts[name] == nil {
		if name == "" {
			return nil, "", a.failure("error.no-endpoint")
		}
		return nil, "", a.wrong(exitNotFound, "error.context.unknown", []any{"Context", name})
	}
	return config, name, nil
}

func (a *app) contextNames() []string {
	config, err := a.configuration()
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(config.Contexts))
}

func (a *app) contextCandidates(context.Context) []string { return a.contextNames() }
