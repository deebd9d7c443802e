package ctl

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// ClusterInitOptions are what an operator says of a new cloud.
type ClusterInitOptions struct {
	Name      string // of the cloud
	Directory string // of configuration, certificates and keys
	Data      string // of the controller's data
	Address   string // where other machines reach this controller: host or address, without a port
	Version   string // of the program that makes it
}

// ClusterRecoverOptions are what root says who lets an administrator in again.
type ClusterRecoverOptions struct {
	Directory string // of the controller's configuration
	User      string // whom the token is for
}

// ClusterInitResult is what the operator needs to enter a cloud that is new, or that nobody could enter.
type ClusterInitResult struct {
	ID        string    `json:"id"`             // of the cloud
	Name      string    `json:"name,omitempty"` // of the new cloud
	User      string    `json:"user,omitempty"` // who was let in again
	Endpoint  string    `json:"endpoint"`       // of the API, for example https://10.0.0.1:8443
	CAFile    string    `json:"caFile"`         // certificate that clients check controllers against
	Token     string    `json:"token"`          // one-time token of the first administrator
	ExpiresAt time.Time `json:"expiresAt"`      // of the token
	Files     []string  `json:"files"`          // that were written
}

func (a *app) cluster() *cobra.Command {
	group := a.group("cluster", "cluster")
	group.AddCommand(a.clusterStatus(), a.clusterInit(), a.clusterRecover())
	return group
}

// clusterInit prints the token alone on standard output, once; what to do with it goes to standard error.
func (a *app) clusterInit() *cobra.Command {
	options := ClusterInitOptions{Version: a.program.Version}
	command := a.command(verb{key: "cluster.init", name: "init", run: func(ctx context.Context, _ []string) error {
		if a.program.ClusterInit == nil {
			return a.failure("error.no-init")
		}
		if err := v1.CheckName(options.Name); err != nil {
			return err
		}
		made, err := a.program.ClusterInit(ctx, options)
		if err != nil {
			return err
		}
		a.notice(a.T("cluster.init.done", "Name", made.Name, "Endpoint", made.Endpoint, "CA", made.CAFile))
		if a.forPeople() {
			return a.write(plain(made.Token) + "\n")
		}
		return a.print(result{data: made, names: []string{made.Name}, sheet: func() *sheet {
			return &sheet{
				columns: []heading{{key: "name"}, {key: "id"}, {key: "endpoint"}, {key: "ca-file"}, {key: "token"}},
				rows:    [][]cell{{{machine: made.Name}, {machine: made.ID}, {machine: made.Endpoint}, {machine: made.CAFile}, {machine: made.Token}}},
			}
		}})
	}})
	flags := command.Flags()
	flags.StringVar(&options.Name, "name", "coloa", a.T("flag.init.name"))
	flags.StringVar(&options.Directory, "dir", "/etc/coloa", a.T("flag.init.dir"))
	flags.StringVar(&options.Data, "data", "/var/lib/coloa", a.T("flag.init.data"))
	flags.StringVar(&options.Address, "address", "", a.T("flag.init.address"))
	return command
}

// clusterRecover prints the token alone on standard output, once, as clusterInit does.
func (a *app) clusterRecover() *cobra.Command {
	var options ClusterRecoverOptions
	command := a.command(verb{key: "cluster.recover", name: "recover", run: func(ctx context.Context, _ []string) error {
		if a.program.ClusterRecover == nil {
			return a.failure("error.no-recover")
		}
		made, err := a.program.ClusterRecover(ctx, options)
		if err != nil {
			return err
		}
		// Said even when a program reads the token: without the restart it is good for nothing.
		if _, err := io.WriteString(a.errs, a.T("cluster.recover.done", "User", plain(made.User), "Endpoint", plain(made.Endpoint), "CA", plain(made.CAFile))+"\n"); err != nil {
			return err
		}
		if a.forPeople() {
			return a.write(plain(made.Token) + "\n")
		}
		return a.print(result{data: made, names: []string{made.User}, sheet: func() *sheet {
			return &sheet{
				columns: []heading{{key: "user"}, {key: "id"}, {key: "endpoint"}, {key: "ca-file"}, {key: "token"}},
				rows:    [][]cell{{{machine: made.User}, {machine: made.ID}, {machine: made.Endpoint}, {machine: made.CAFile}, {machine: made.Token}}},
			}
		}})
	}})
	flags := command.Flags()
	flags.StringVar(&options.Directory, "dir", "/etc/coloa", a.T("flag.init.dir"))
	flags.StringVar(&options.User, "user", "admin", a.T("flag.recover.user"))
	return command
}

// clusterStatus fails when something needs attention, so that a script can ask.
func (a *app) clusterStatus() *cobra.Command {
	return a.command(verb{key: "cluster.status", name: "status", run: func(ctx context.Context, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		status, err := c.ClusterStatus(ctx)
		if err != nil {
			return err
		}
		if a.forPeople() {
			err = a.printStatus(status)
		} else {
			err = a.print(result{data: status, names: []string{status.Name}, sheet: func() *sheet { return a.hostSheet(status.Hosts) }})
		}
		if err == nil && !status.Healthy {
			return quiet{exitFailed}
		}
		return err
	}})
}

func (a *app) printStatus(status v1.ClusterStatus) error {
	health, colour := a.T("cluster.healthy"), green
	if !status.Healthy {
		health, colour = a.T("cluster.unhealthy"), red
	}
	var b strings.Builder
	b.WriteString(a.T("cluster.line", "Name", status.Name, "Health", health, "Version", status.Version))
	text := strings.Replace(b.String(), health, a.screen.paint(colour, health), 1) + "\n"
	for _, problem := range status.Problems {
		text += "  ! " + a.said(problem) + "\n"
	}
	text += "\n" + a.draw(a.memberSheet(status.Members), a.flags.output == formWide)
	if len(status.Hosts) > 0 {
		text += "\n" + a.draw(a.hostSheet(status.Hosts), a.flags.output == formWide)
	}
	if counts := a.countText(status.Counts); counts != "" {
		text += "\n" + a.wrap(counts, 0) + "\n"
	}
	return a.write(text)
}

func (a *app) memberSheet(members []v1.MemberStatus) *sheet {
	s := &sheet{columns: []heading{{key: "controller", whole: true}, {key: "address"}, {key: "part"}, {key: "applied", level: ifRoom}}}
	for _, member := range members {
		part := "member.voter"
		switch {
		case member.Leader:
			part = "member.leader"
		case !member.Voter:
			part = "member.learner"
		}
		applied := "" // only the member that answers knows how far it is
		if member.Applied > 0 {
			applied = number(int64(member.Applied))
		}
		s.rows = append(s.rows, []cell{
			{machine: member.ID, human: plain(member.ID)}, {machine: member.Address, human: plain(member.Address)},
			{machine: strings.TrimPrefix(part, "member."), human: a.T(part)}, {machine: applied, human: applied},
		})
	}
	return s
}

func (a *app) hostSheet(hosts []v1.HostSummary) *sheet {
	s := &sheet{columns: []heading{{key: "host", whole: true}, {key: "phase"}, {key: "vms"}, {key: "vcpus"}, {key: "memory-mib"}, {key: "storage-gib", level: ifRoom}}}
	share := func(used, limit int64) cell {
		return cell{machine: number(used), human: number(used) + "/" + number(limit)}
	}
	for _, host := range hosts {
		s.rows = append(s.rows, []cell{
			{machine: host.Name, human: plain(host.Name)},
			{machine: string(host.Phase), human: a.word("phase", string(host.Phase)), colour: phaseColour(string(host.Phase))},
			{machine: number(int64(host.VMs)), human: number(int64(host.VMs))},
			share(host.Usage.VCPUs, host.Limit.VCPUs), share(host.Usage.MemoryMiB, host.Limit.MemoryMiB), share(host.Usage.StorageGiB, host.Limit.StorageGiB),
		})
	}
	return s
}

func (a *app) countText(counts map[v1.Kind]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		if counts[kind] > 0 {
			parts = append(parts, a.word("kind", string(kind))+": "+number(int64(counts[kind])))
		}
	}
	return strings.Join(parts, " · ")
}
