package ctl

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The texts of cobra are English; these say the same in the user's language.

func (a *app) help(root *cobra.Command) *cobra.Command {
	command := &cobra.Command{
		Use: "help [" + a.T("arg.command") + "]", Short: a.T("help.short"), SilenceErrors: true, SilenceUsage: true,
		RunE: func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return a.usage("error.command.unknown", "Command", strings.Join(args, " "), "Parent", "coloa")
			}
			return a.write(a.helpText(found))
		},
	}
	root.SetHelpCommand(command)
	return command
}

func (a *app) helpText(command *cobra.Command) string {
	return a.wrap(first(command.Long, command.Short), 0) + "\n\n" + a.usageText(command)
}

func (a *app) usageText(command *cobra.Command) string {
	var b strings.Builder
	title := func(key string) { b.WriteString("\n" + a.screen.paint(bold, a.T(key)) + "\n") }
	b.WriteString(a.screen.paint(bold, a.T("help.usage")) + "\n")
	if command.Runnable() && !command.HasSubCommands() {
		b.WriteString("  " + strings.Replace(command.UseLine(), "[flags]", "["+a.T("arg.flags")+"]", 1) + "\n")
	}
	if command.HasAvailableSubCommands() {
		b.WriteString("  " + command.CommandPath() + " " + a.T("arg.command") + " [" + a.T("arg.flags") + "]\n")
	}
	if len(command.Aliases) > 0 {
		title("help.aliases")
		b.WriteString("  " + strings.Join(command.Aliases, ", ") + "\n")
	}
	if command.HasExample() {
		title("help.examples")
		b.WriteString("  " + strings.ReplaceAll(command.Example, "\n", "\n  ") + "\n")
	}
	if command.HasAvailableSubCommands() {
		a.listCommands(&b, command)
	}
	if flags := command.LocalNonPersistentFlags(); flags.HasAvailableFlags() {
		title("help.flags")
		b.WriteString(a.flagTexts(flags))
	}
	if command.HasParent() && command.HasAvailableInheritedFlags() && !command.HasAvailableSubCommands() {
		title("help.global")
		b.WriteString(a.flagTexts(command.InheritedFlags()))
	} else if !command.HasParent() {
		title("help.global")
		b.WriteString(a.flagTexts(command.PersistentFlags()))
	}
	if command.HasAvailableSubCommands() {
		b.WriteString("\n" + a.T("help.more", "Command", command.CommandPath()) + "\n")
	}
	return b.String()
}

func (a *app) listCommands(b *strings.Builder, command *cobra.Command) {
	widest := 0
	for _, child := range command.Commands() {
		widest = max(widest, len(child.Name()))
	}
	list := func(group string) {
		for _, child := range command.Commands() {
			if child.IsAvailableCommand() && child.GroupID == group {
				b.WriteString("  " + child.Name() + strings.Repeat(" ", widest-len(child.Name())+2) + a.wrap(child.Short, widest+4) + "\n")
			}
		}
	}
	for _, group := range command.Groups() {
		b.WriteString("\n" + a.screen.paint(bold, group.Title) + "\n")
		list(group.ID)
	}
	if len(command.Groups()) == 0 {
		b.WriteString("\n" + a.screen.paint(bold, a.T("help.commands")) + "\n")
		list("")
	}
}

func (a *app) flagTexts(flags *pflag.FlagSet) string {
	type line struct{ left, right string }
	var lines []line
	widest := 0
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden {
			return
		}
		left := "      --" + flag.Name
		if flag.Shorthand != "" {
			left = "  -" + flag.Shorthand + ", --" + flag.Name
		}
		kind, usage := pflag.UnquoteUsage(flag)
		if flag.Value.Type() == "bool" {
			kind = ""
		} else if !strings.Contains(flag.Usage, "`") {
			kind = a.T("arg.value")
		}
		if kind != "" {
			left += " " + kind
		}
		if value := flag.DefValue; value != "" && value != "false" && value != "0" && value != "0s" && value != "[]" {
			usage += " (" + a.T("help.default", "Value", value) + ")"
		}
		widest = max(widest, text.StringWidth(left))
		lines = append(lines, line{left, usage})
	})
	widest = min(widest, 34)
	var b strings.Builder
	for _, l := range lines {
		if text.StringWidth(l.left) > widest {
			b.WriteString(l.left + "\n" + strings.Repeat(" ", widest))
		} else {
			b.WriteString(l.left + strings.Repeat(" ", widest-text.StringWidth(l.left)))
		}
		b.WriteString("  " + a.wrap(l.right, widest+2) + "\n")
	}
	return b.String()
}

// wrap breaks text into lines; all but the first are indented.
func (a *app) wrap(long string, indent int) string {
	width := a.screen.width
	if width <= 0 || width > 100 {
		width = plainScreen
	}
	width = max(width-indent, 20)
	var result []string
	for _, paragraph := range strings.Split(long, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && text.StringWidth(line)+1+text.StringWidth(word) > width {
				result = append(result, line)
				line = ""
			}
			line = strings.TrimLeft(line+" "+word, " ")
		}
		result = append(result, line)
	}
	return strings.Join(result, "\n"+strings.Repeat(" ", indent))
}
