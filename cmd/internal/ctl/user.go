package ctl

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) users() *cobra.Command {
	n := noun[v1.User, *v1.User]{app: a, key: "user", columns: []column[v1.User]{
		textColumn("title", ifRoom, func(o *v1.User) string { return o.Spec.Title }),
		textColumn("email", ifRoom, func(o *v1.User) string { return o.Spec.Email }),
		{
			key: "role", value: func(o *v1.User) string { return string(o.Spec.PlatformRole) },
			human: func(a *app, o *v1.User) string { return a.word("role", string(o.Spec.PlatformRole)) },
		},
		yesNo("disabled", always, func(o *v1.User) bool { return o.Spec.Disabled }),
		yesNo("password", ifRoom, func(o *v1.User) bool { return o.Status.HasPassword }),
	}}
	flags := func(s *specFlags) {
		s.text("title", "title")
		s.text("email", "email")
		s.oneOf("role", "platformRole", string(v1.RolePlatformAdmin), string(v1.RoleReader))
	}
	turn := func(name string, disabled bool) *cobra.Command {
		return a.command(verb{key: "user." + name, name: name, args: []string{"name"}, names: n.candidates(), run: func(ctx context.Context, args []string) error {
			return n.patch(ctx, args[0], map[string]any{"spec": map[string]any{"disabled": disabled}})
		}})
	}
	group := a.group("user", "user", "users")
	group.AddCommand(n.list(), n.show(), n.create(creation{setup: flags}), n.update(flags), a.setPassword(n), turn("disable", true), turn("enable", false), n.delete())
	return group
}

// setPassword asks without an echo, or reads lines from standard input: the present password (for oneself), then the new one.
func (a *app) setPassword(n noun[v1.User, *v1.User]) *cobra.Command {
	return a.command(verb{key: "user.set-password", name: "set-password", args: []string{"name?"}, names: n.candidates(), run: func(ctx context.Context, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		identity, err := c.WhoAmI(ctx)
		if err != nil {
			return err
		}
		user := identity.User.Name
		if len(args) > 0 {
			user = args[0]
		}
		own := user == identity.User.Name || user == identity.User.ID
		request, err := a.newPassword(ctx, c, user, own)
		if err != nil {
			return err
		}
		if err := v1.CheckPassword(request.Password); err != nil {
			return err
		}
		if err := c.SetPassword(ctx, user, request); err != nil {
			return err
		}
		a.notice(a.T("password.done", "User", user))
		return nil
	}})
}

func (a *app) newPassword(ctx context.Context, c *client.Client, user string, own bool) (request v1.PasswordRequest, err error) {
	if own {
		shown, err := client.Get[v1.User](ctx, c, client.Ref{ID: user})
		// Who may not read users is asked for the present one: the controller decides.
		if err != nil || shown.Status.HasPassword {
			if request.Old, err = a.secret(a.T("password.old", "User", user)); err != nil {
				return request, err
			}
		}
	}
	if request.Password, err = a.secret(a.T("password.new", "User", user)); err != nil {
		return request, err
	}
	if a.screen.in {
		again, err := a.secret(a.T("password.again"))
		if err != nil {
			return request, err
		}
		if again != request.Password {
			return request, a.usage("error.password.differs")
		}
	}
	return request, nil
}

// secret asks a terminal without an echo, or reads a line of standard input.
func (a *app) secret(prompt string) (string, error) {
	if a.screen.in {
		_, _ = io.WriteString(a.errs, prompt+" ")
		text, err := term.ReadPassword(int(a.in.(*os.File).Fd()))
		_, _ = io.WriteString(a.errs, "\n")
		if err != nil {
			return "", a.failure("error.terminal", "Cause", err)
		}
		return string(text), nil
	}
	return a.line()
}

// line reads one line of standard input, and no byte more.
func (a *app) line() (string, error) {
	reader, kept := a.in.(*bufio.Reader)
	if !kept {
		reader = bufio.NewReader(io.LimitReader(a.in, 1<<16))
		a.in = reader
	}
	text, err := reader.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", a.failure("error.input", "Cause", err)
	}
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return "", a.usage("error.input.empty")
	}
	return text, nil
}
