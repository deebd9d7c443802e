package ctl

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// completionTime is how long somebody who pressed the tabulator key waits.
const completionTime = 1500 * time.Millisecond

func (a *app) completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	command := a.command(verb{key: "completion", name: "completion", args: []string{"shell"}, names: func(context.Context) []string { return shells }, run: func(context.Context, []string) error { return nil }})
	command.RunE = func(command *cobra.Command, args []string) error {
		root := command.Root()
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(a.out, true)
		case "zsh":
			return root.GenZshCompletion(a.out)
		case "fish":
			return root.GenFishCompletion(a.out, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(a.out)
		}
		return a.usage("error.shell", "Value", args[0])
	}
	return command
}

// complete makes a flag complete its value.
func (a *app) complete(command *cobra.Command, flag string, candidates func(context.Context) []string) {
	_ = command.RegisterFlagCompletionFunc(flag, func(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		list := a.candidates(command, candidates, nil)
		if len(list) > 0 && list[0] != "" && list[0][len(list[0])-1] == '=' {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return list, directive
	})
}

// candidates asks within a short time and stays silent about failures: a shell that completes is no place for messages.
func (a *app) candidates(command *cobra.Command, from func(context.Context) []string, taken []string) []string {
	ctx := command.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	return slices.DeleteFunc(slices.Clone(from(ctx)), func(name string) bool { return slices.Contains(taken, name) || name != plain(name) })
}

// names finds the names (ids of what has no name) in a collection.
func (a *app) names(collection string) func(context.Context) []string {
	return func(ctx context.Context) []string {
		c, err := a.client()
		if err != nil {
			return nil
		}
		switch collection {
		case "vms":
			return listNames[v1.VM](ctx, c)
		case "volumes":
			return listNames[v1.Volume](ctx, c)
		case "snapshots":
			return listNames[v1.Snapshot](ctx, c)
		case "images":
			return listNames[v1.Image](ctx, c)
		case "flavors":
			return listNames[v1.Flavor](ctx, c)
		case "projects":
			return listNames[v1.Project](ctx, c)
		case "users":
			return listNames[v1.User](ctx, c)
		case "hosts":
			return listNames[v1.Host](ctx, c)
		case "placement-groups":
			return listNames[v1.PlacementGroup](ctx, c)
		case "tokens":
			return listNames[v1.Token](ctx, c)
		case "operations":
			return listNames[v1.Operation](ctx, c)
		case "tasks":
			return listNames[v1.Task](ctx, c)
		case "instances":
			return listNames[v1.Instance](ctx, c)
		case "attachments":
			return listNames[v1.Attachment](ctx, c)
		}
		return nil
	}
}

func listNames[T any, P client.Noun[T]](ctx context.Context, c *client.Client) []string {
	page, err := client.List[T, P](ctx, c, client.Query{Limit: 200})
	if err != nil {
		return nil
	}
	names := make([]string, len(page.Items))
	for i, object := range page.Items {
		definition, _ := v1.Define(P(object).ObjectKind())
		if names[i] = P(object).ObjectMeta().ID; definition.Named {
			names[i] = P(object).ObjectMeta().Name
		}
	}
	return names
}
