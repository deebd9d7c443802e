package ctl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) vm() noun[v1.VM, *v1.VM] {
	return noun[v1.VM, *v1.VM]{app: a, key: "vm", filters: []filter{{"host", v1.KindHost}}, columns: []column[v1.VM]{
		phaseColumn(func(o *v1.VM) string { return string(o.Status.Phase) }),
		textColumn("flavor", always, func(o *v1.VM) string { return o.Spec.Flavor }),
		textColumn("vcpus", ifRoom, func(o *v1.VM) string { return number(int64(o.Status.VCPUs)) }),
		{key: "memory", level: ifRoom, value: func(o *v1.VM) string { return number(o.Status.MemoryMiB) }, human: func(_ *app, o *v1.VM) string { return memoryText(o.Status.MemoryMiB) }},
		textColumn("image", ifRoom, func(o *v1.VM) string { return o.Spec.Image }),
		{key: "host", level: ifRoom, value: func(o *v1.VM) string { return o.Status.Host }, human: func(_ *app, o *v1.VM) string { return first(o.Status.HostName, v1.Short(o.Status.Host)) }},
		textColumn("power", wideOnly, func(o *v1.VM) string { return string(o.Spec.Power) }),
		textColumn("mac", wideOnly, func(o *v1.VM) string { return o.Status.MAC }),
		textColumn("restart-policy", detailOnly, func(o *v1.VM) string { return string(o.Policy()) }),
		textColumn("security-level", detailOnly, func(o *v1.VM) string { return number(int64(o.Level())) }),
		textColumn("placement-group", detailOnly, func(o *v1.VM) string { return o.Spec.PlacementGroup }),
		refColumn("root-volume", detailOnly, v1.KindVolume, func(o *v1.VM) string { return o.Status.RootVolume }),
		textColumn("instance", detailOnly, func(o *v1.VM) string { return o.Status.Instance }),
		operationColumn(func(o *v1.VM) string { return o.Status.Operation }),
		{key: "message", level: detailOnly, value: func(o *v1.VM) string { return o.Status.Message }, human: func(a *app, o *v1.VM) string { return a.said(o.Status.Message) }},
	}}
}

func (a *app) vms() *cobra.Command {
	n := a.vm()
	group := a.group("vm", "vm", "vms")
	group.AddCommand(
		n.list(), n.show(), a.vmCreate(n), n.update(func(s *specFlags) {
			s.oneOf("power", "power", string(v1.PowerRunning), string(v1.PowerStopped))
			vmFlags(s)
		}), n.delete(), a.vmStart(n), a.vmStop(n), a.vmReboot(n), a.vmResize(n), a.vmConsole(), a.vmLog(),
	)
	return group
}

func vmFlags(s *specFlags) {
	s.oneOf("restart-policy", "restartPolicy", string(v1.RestartOnFailure), string(v1.RestartAlways), string(v1.RestartNever))
	s.integer("security-level", "securityLevel")
	s.throttle("diskThrottle")
}

func (a *app) vmCreate(n noun[v1.VM, *v1.VM]) *cobra.Command {
	var userData string
	var keys []string
	dryRun, stopped := false, false
	command := n.create(creation{
		required: []string{"flavor", "image"},
		setup: func(s *specFlags) {
			s.ref("flavor", "flavor", "flavors")
			s.ref("image", "image", "images")
			s.size("disk", "diskGiB", gibibyte)
			s.oneOf("power", "power", string(v1.PowerRunning), string(v1.PowerStopped))
			s.ref("group", "placementGroup", "placement-groups")
			vmFlags(s)
			flags := s.command.Flags()
			flags.StringVar(&userData, "user-data", "", s.usage("user-data"))
			flags.StringArrayVar(&keys, "ssh-key", nil, s.usage("ssh-key"))
			flags.BoolVar(&dryRun, "dry-run", false, s.usage("dry-run"))
			flags.BoolVar(&stopped, "stopped", false, s.usage("stopped"))
		},
		before: func(ctx context.Context, draft *client.Draft) (bool, error) {
			spec := draft.Spec.(map[string]any)
			if stopped {
				spec["power"] = string(v1.PowerStopped)
			}
			if userData != "" {
				text, err := a.readText(userData, v1.MaxUserDataBytes)
				if err != nil {
					return false, err
				}
				spec["userData"] = text
			}
			if len(keys) > 0 {
				list, err := a.readKeys(keys)
				if err != nil {
					return false, err
				}
				spec["sshKeys"] = list
			}
			if dryRun {
				return true, a.explainPlacement(ctx, *draft)
			}
			return false, nil
		},
	})
	return command
}

// readText reads a file, or standard input for "-".
func (a *app) readText(path string, limit int64) (string, error) {
	var from io.Reader = a.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return "", a.failure("error.file", "File", path, "Cause", err)
		}
		defer file.Close()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return "", a.failure("error.file", "File", path, "Cause", err)
	}
	if int64(len(text)) > limit {
		return "", a.usage("error.file.large", "File", path, "Limit", limit)
	}
	return string(text), nil
}

// readKeys reads files of SSH public keys. A private key is refused here, before it leaves the machine.
func (a *app) readKeys(paths []string) ([]string, error) {
	var keys []string
	for _, path := range paths {
		text, err := a.readText(path, 1<<18)
		if err != nil {
			return nil, err
		}
		if strings.Contains(text, "PRIVATE KEY") {
			return nil, a.usage("error.private-key", "File", path)
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
	}
	return keys, nil
}

// explainPlacement shows where a machine would go. Not being placed is a failure to scripts.
func (a *app) explainPlacement(ctx context.Context, draft client.Draft) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	placement, err := c.ExplainVM(ctx, draft)
	if err != nil {
		return err
	}
	look := a.newLookup(ctx, a.forPeople())
	if a.forPeople() {
		line := a.N("placement.none", placement.Considered)
		if placement.Placed {
			line = a.N("placement.placed", placement.Considered)
			if placement.Host != "" {
				line = a.N("placement.host", placement.Considered, "Host", look.name(v1.KindHost, placement.Host))
			}
		}
		if err := a.write(line + "\n"); err != nil {
			return err
		}
	}
	if len(placement.Filters) > 0 || !a.forPeople() {
		err = a.print(result{data: placement, names: []string{placement.Host}, sheet: func() *sheet {
			s := &sheet{columns: []heading{{key: "filter"}, {key: "refused"}, {key: "reason"}}}
			for _, f := range placement.Filters {
				s.rows = append(s.rows, []cell{
					{machine: f.Filter, human: a.word("filter", f.Filter)}, {machine: number(int64(f.Refused)), human: number(int64(f.Refused))},
					{machine: f.Reason, human: a.said(f.Reason)},
				})
			}
			return s
		}})
	}
	if err == nil && !placement.Placed {
		return quiet{exitFailed}
	}
	return err
}

// vmAction is a command that acts on one or more machines.
func (a *app) vmAction(n noun[v1.VM, *v1.VM], name string, args func() (any, error)) *cobra.Command {
	command := a.command(verb{key: "vm." + name, name: name, args: []string{"name…"}, names: n.candidates(), run: func(ctx context.Context, names []string) error {
		request, err := args()
		if err != nil {
			return err
		}
		return n.each(ctx, names, false, func(ctx context.Context, c *client.Client, name2 string) (client.Result[v1.VM], error) {
			return client.Act[v1.VM](ctx, c, client.Ref{ID: name2}, name, request)
		})
	}})
	a.waitFlags(command)
	return command
}

func (a *app) vmStart(n noun[v1.VM, *v1.VM]) *cobra.Command {
	return a.vmAction(n, "start", func() (any, error) { return struct{}{}, nil })
}

func (a *app) vmStop(n noun[v1.VM, *v1.VM]) *cobra.Command {
	force, grace := false, time.Duration(0)
	command := a.vmAction(n, "stop", func() (any, error) {
		if grace < 0 || grace > time.Hour || grace%time.Second != 0 {
			return nil, a.usage("error.grace", "Value", grace)
		}
		return v1.StopRequest{Force: force, GraceSeconds: int(grace / time.Second)}, nil
	})
	command.Flags().BoolVar(&force, "force", false, a.T("flag.vm.stop.force"))
	command.Flags().DurationVar(&grace, "grace", 0, a.T("flag.vm.stop.grace"))
	return command
}

func (a *app) vmReboot(n noun[v1.VM, *v1.VM]) *cobra.Command {
	force := false
	command := a.vmAction(n, "reboot", func() (any, error) { return v1.RebootRequest{Force: force}, nil })
	command.Flags().BoolVar(&force, "force", false, a.T("flag.vm.reboot.force"))
	return command
}

func (a *app) vmResize(n noun[v1.VM, *v1.VM]) *cobra.Command {
	flavor := ""
	var command *cobra.Command
	command = a.command(verb{key: "vm.resize", name: "resize", args: []string{"name"}, names: n.candidates(), run: func(ctx context.Context, args []string) error {
		if err := a.require(command, []string{"flavor"}); err != nil {
			return err
		}
		return n.patch(ctx, args[0], map[string]any{"spec": map[string]any{"flavor": flavor}})
	}})
	command.Flags().StringVar(&flavor, "flavor", "", a.T("flag.vm.flavor"))
	a.complete(command, "flavor", a.names("flavors"))
	a.waitFlags(command)
	return command
}

func (a *app) vmLog() *cobra.Command {
	options, raw := client.LogOptions{}, false
	command := a.command(verb{key: "vm.log", name: "log", aliases: []string{"logs"}, args: []string{"name"}, names: a.names("vms"), run: func(ctx context.Context, args []string) error {
		if options.Tail < 0 {
			return a.usage("error.flag.value", "Flag", "--tail", "Value", options.Tail)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		stream, err := c.Log(ctx, client.Ref{ID: args[0]}, options)
		if err != nil {
			return err
		}
		defer stream.Close()
		defer context.AfterFunc(ctx, func() { stream.Close() })()
		var to io.Writer = a.out
		if a.screen.out && !raw {
			to = &guestText{to: a.out}
		}
		_, err = io.Copy(to, stream)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !closed(err) {
			return a.failure("error.stream", "Cause", err)
		}
		return nil
	}})
	flags := command.Flags()
	flags.IntVar(&options.Tail, "tail", 0, a.T("flag.vm.log.tail"))
	flags.BoolVarP(&options.Follow, "follow", "f", false, a.T("flag.vm.log.follow"))
	flags.BoolVar(&raw, "raw", false, a.T("flag.vm.log.raw"))
	return command
}

// guestText takes what could command the terminal out of a guest's serial output: escape sequences go, lines stay.
type guestText struct {
	to    io.Writer
	state byte // 0 text, 'e' after ESC, 'c' in a control sequence, 's' in a string that ends with BEL or ST
}

func (g *guestText) Write(data []byte) (int, error) {
	var kept bytes.Buffer
	for _, b := range data {
		switch g.state {
		case 'e':
			switch b {
			case '[':
				g.state = 'c'
			case ']', 'P', 'X', '^', '_':
				g.state = 's'
			default:
				if b < 0x20 || b > 0x2f { // an intermediate byte is followed by another
					g.state = 0
				}
			}
		case 'c':
			if b >= 0x40 && b <= 0x7e {
				g.state = 0
			}
		case 's':
			switch b {
			case 0x07:
				g.state = 0
			case 0x1b:
				g.state = 'e'
			}
		default:
			switch {
			case b == 0x1b:
				g.state = 'e'
			case b == '\n' || b == '\t' || b >= 0x20 && b != 0x7f:
				kept.WriteByte(b)
			}
		}
	}
	// C1 control characters are commands as well, where they come as UTF-8.
	text := kept.Bytes()
	for c := byte(0x80); c < 0xa0; c++ {
		text = bytes.ReplaceAll(text, []byte{0xc2, c}, nil)
	}
	if _, err := g.to.Write(text); err != nil {
		return 0, fmt.Errorf("the terminal is gone: %w", err)
	}
	return len(data), nil
}
