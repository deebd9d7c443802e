package ctl

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// globals are the flags that every command has.
type globals struct {
	context  string
	project  string
	endpoint string
	output   string
	jq       string
	timeout  time.Duration
	noWait   bool
}

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	root := a.group("coloa", "coloa")
	root.Long = a.T("coloa.long")
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVarP(&a.flags.output, "output", "o", formTable, a.T("flag.output"))
	flags.StringVar(&a.flags.jq, "jq", "", a.T("flag.jq"))
	flags.StringVar(&a.flags.context, "context", "", a.T("flag.context"))
	flags.StringVarP(&a.flags.project, "project", "p", "", a.T("flag.project"))
	flags.StringVar(&a.flags.endpoint, "endpoint", "", a.T("flag.endpoint"))
	flags.DurationVar(&a.flags.timeout, "timeout", 0, a.T("flag.timeout"))
	flags.BoolP("help", "h", false, a.T("flag.help"))
	root.PersistentPreRunE = func(command *cobra.Command, _ []string) error { return a.begin(command) }
	root.AddGroup(&cobra.Group{ID: groupNouns, Title: a.T("help.nouns")}, &cobra.Group{ID: groupCloud, Title: a.T("help.cloud")})
	for _, noun := range []*cobra.Command{
		a.vms(), a.volumes(), a.snapshots(), a.images(), a.flavors(), a.projects(), a.users(), a.tokens(), a.hosts(), a.placementGroups(),
		a.operations(), a.tasks(), a.instances(), a.attachments(),
	} {
		noun.GroupID = groupNouns
		root.AddCommand(noun)
	}
	for _, command := range []*cobra.Command{
		a.apply(), a.events(), a.login(), a.logout(), a.whoami(), a.contexts(), a.cluster(), a.version(), a.completion(), a.help(root),
	} {
		command.GroupID = groupCloud
		root.AddCommand(command)
	}
	root.SetHelpFunc(func(command *cobra.Command, _ []string) { _ = a.write(a.helpText(command)) })
	root.SetUsageFunc(func(command *cobra.Command) error { return a.write(a.usageText(command)) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return err })
	a.complete(root, "output", func(context.Context) []string { return forms })
	a.complete(root, "project", a.names("projects"))
	a.complete(root, "context", func(context.Context) []string { return a.contextNames() })
	return root
}

const (
	groupNouns = "nouns"
	groupCloud = "cloud"
)

// begin checks the global flags and starts the clock of --timeout.
func (a *app) begin(command *cobra.Command) error {
	if !slices.Contains(forms, a.flags.output) {
		return a.usage("error.output", "Value", a.flags.output, "Allowed", strings.Join(forms, ", "))
	}
	if a.flags.timeout < 0 {
		return a.usage("error.flag.value", "Flag", "--timeout", "Value", a.flags.timeout)
	}
	if a.flags.timeout > 0 {
		// The process ends with the command, and the context with it.
		ctx, cancel := context.WithTimeoutCause(command.Context(), a.flags.timeout, errTimedOut)
		context.AfterFunc(ctx, cancel)
		command.SetContext(ctx)
	}
	return nil
}

// group is a command that only holds others.
func (a *app) group(key, name string, aliases ...string) *cobra.Command {
	return &cobra.Command{
		Use: name, Aliases: aliases, Short: a.T(key + ".short"), SilenceErrors: true, SilenceUsage: true, DisableFlagsInUseLine: true, TraverseChildren: false,
		Args: cobra.ArbitraryArgs,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Help()
			}
			suggestion := ""
			if command.SuggestionsMinimumDistance <= 0 {
				command.SuggestionsMinimumDistance = 2
			}
			if found := command.SuggestionsFor(args[0]); len(found) > 0 {
				suggestion = a.T("error.command.meant", "Command", command.CommandPath()+" "+found[0])
			}
			return &failure{
				exit: exitUsage, what: a.T("error.command.unknown", "Command", args[0], "Parent", command.CommandPath()),
				next: first(suggestion, a.T("error.command.unknown.next", "Parent", command.CommandPath())),
			}
		},
	}
}

// verb describes a command that does something.
type verb struct {
	key     string // of the catalogue: <key>.short, and where they exist <key>.long and <key>.example
	name    string
	aliases []string
	args    []string                       // names of arguments (arg.<name>); a last "…" repeats, "?" may be left out
	pairs   []any                          // what the messages mention
	names   func(context.Context) []string // completes every argument
	run     func(ctx context.Context, args []string) error
}

func (a *app) command(v verb) *cobra.Command {
	use, low, high := v.name, 0, 0
	for _, arg := range v.args {
		word := a.T("arg." + strings.TrimRight(arg, "…?"))
		switch {
		case strings.HasSuffix(arg, "…"):
			word, low, high = word+"...", low+1, -1
		case strings.HasSuffix(arg, "?"):
			word, high = "["+word+"]", high+1
		default:
			low, high = low+1, high+1
		}
		use += " " + word
	}
	command := &cobra.Command{
		Use: use, Aliases: v.aliases, Short: a.T(v.key+".short", v.pairs...), SilenceErrors: true, SilenceUsage: true,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) < low || high >= 0 && len(args) > high {
				return a.usage("error.args", "Use", command.UseLine())
			}
			return nil
		},
		RunE: func(command *cobra.Command, args []string) error { return v.run(command.Context(), args) },
		ValidArgsFunction: func(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if v.names == nil || high >= 0 && len(args) >= high {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.candidates(command, v.names, args), cobra.ShellCompDirectiveNoFileComp
		},
	}
	if a.text.has(v.key + ".long") {
		command.Long = a.T(v.key+".long", v.pairs...)
	}
	if a.text.has(v.key + ".example") {
		command.Example = a.T(v.key + ".example")
	}
	return command
}
