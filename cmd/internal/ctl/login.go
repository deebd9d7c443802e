package ctl

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const defaultContext = "default"

// login exchanges a one-time token, or a password, for a token, and keeps it as a context.
func (a *app) login() *cobra.Command {
	caFile, token, tokenFile, user := "", "", "", ""
	command := a.command(verb{key: "login", name: "login", run: func(ctx context.Context, _ []string) error {
		config, err := a.configuration()
		if err != nil {
			return err
		}
		name := first(a.flags.context, a.env("COLOA_CONTEXT"), config.Current, defaultContext)
		chosen := config.Contexts[name]
		if chosen == nil {
			chosen = &setting{}
		}
		if given := splitList(first(a.flags.endpoint, a.env("COLOA_ENDPOINT"))); len(given) > 0 {
			chosen.Endpoints = given
		}
		if len(chosen.Endpoints) == 0 {
			return a.usage("error.login.endpoint")
		}
		if path := first(caFile, a.env("COLOA_CACERT")); path != "" {
			if chosen.CA, err = a.readText(path, maxConfiguration/4); err != nil {
				return err
			}
		}
		request, err := a.loginRequest(token, tokenFile, user)
		if err != nil {
			return err
		}
		chosen.Project = first(a.flags.project, a.env("COLOA_PROJECT"), chosen.Project)
		if err := a.enter(ctx, chosen, request); err != nil {
			return err
		}
		config.Contexts[name], config.Current = chosen, name
		if err := a.save(config); err != nil {
			return err
		}
		a.notice(a.T("login.done", "User", chosen.User, "Endpoint", strings.Join(chosen.Endpoints, ", "), "Context", name))
		return nil
	}})
	flags := command.Flags()
	flags.StringVar(&caFile, "ca-file", "", a.T("flag.login.ca-file"))
	flags.StringVar(&token, "token", "", a.T("flag.login.token"))
	flags.StringVar(&tokenFile, "token-file", "", a.T("flag.login.token-file"))
	flags.StringVarP(&user, "user", "u", "", a.T("flag.login.user"))
	for _, name := range []string{"ca-file", "token-file"} {
		_ = command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	}
	return command
}

func (a *app) loginRequest(token, tokenFile, user string) (request v1.LoginRequest, err error) {
	given := 0
	for _, text := range []string{token, tokenFile, user} {
		if text != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return request, a.usage("error.login.both")
	case user != "":
		request.User = user
		request.Password, err = a.secret(a.T("login.password", "User", user))
	case tokenFile != "":
		request.Token, err = a.readText(tokenFile, 1<<12)
		request.Token = strings.TrimSpace(request.Token)
	case token != "" && token != "-":
		request.Token = token
	default:
		request.Token, err = a.secret(a.T("login.token"))
	}
	return request, err
}

// enter logs in and completes the context: its token, user, and project when there is just one.
func (a *app) enter(ctx context.Context, chosen *setting, request v1.LoginRequest) error {
	c, err := a.connect(&settings{endpoints: chosen.Endpoints, ca: chosen.CA})
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.Login(ctx, request)
	if err != nil {
		return err
	}
	chosen.Token, chosen.User = answer.Secret, answer.User.Name
	entered, err := a.connect(&settings{endpoints: chosen.Endpoints, ca: chosen.CA, token: answer.Secret})
	if err != nil {
		return err
	}
	defer entered.Close()
	if chosen.Project == "" {
		// The token is in hand; a question that fails now must not lose it.
		if identity, err := entered.WhoAmI(ctx); err == nil && len(identity.Projects) == 1 {
			chosen.Project = identity.Projects[0].Project.Name
		}
	}
	return nil
}

// logout ends the token and forgets it. The context stays.
func (a *app) logout() *cobra.Command {
	return a.command(verb{key: "logout", name: "logout", run: func(ctx context.Context, _ []string) error {
		s, err := a.settings()
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		if err := c.Logout(ctx); err != nil && !isCode(err, v1.CodeUnauthenticated) {
			return err
		}
		config, err := a.configuration()
		if err != nil {
			return err
		}
		if chosen := config.Contexts[s.context]; chosen != nil && chosen.Token == s.token {
			chosen.Token = ""
			if err := a.save(config); err != nil {
				return err
			}
		}
		a.notice(a.T("logout.done"))
		return nil
	}})
}

func (a *app) whoami() *cobra.Command {
	return a.command(verb{key: "whoami", name: "whoami", run: func(ctx context.Context, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		identity, err := c.WhoAmI(ctx)
		if err != nil {
			return err
		}
		return a.print(result{data: identity, names: []string{identity.User.Name}, one: true, sheet: func() *sheet { return a.identitySheet(c, identity) }})
	}})
}

func (a *app) identitySheet(c *client.Client, identity v1.Identity) *sheet {
	s := &sheet{rows: [][]cell{{}}}
	add := func(key, machine, human string) {
		s.columns = append(s.columns, heading{key: key})
		s.rows[0] = append(s.rows[0], cell{machine: machine, human: plain(human)})
	}
	add("user", identity.User.Name, identity.User.Name)
	add("id", identity.User.ID, identity.User.ID)
	add("role", string(identity.PlatformRole), a.word("role", string(identity.PlatformRole)))
	var machine, human []string
	for _, access := range identity.Projects {
		name := first(access.Project.Name, access.Project.ID)
		machine = append(machine, name+"="+string(access.Role))
		human = append(human, name+" ("+a.word("role", string(access.Role))+")")
	}
	add("projects", strings.Join(machine, ","), strings.Join(human, ", "))
	add("token", identity.Token.ID, first(identity.Token.Name, identity.Token.ID))
	left := identity.ExpiresAt.Sub(a.now())
	add("expires", stamp(identity.ExpiresAt), a.moment(identity.ExpiresAt)+" ("+a.T("token.left", "Span", a.span(max(left, time.Duration(0))))+")")
	add("endpoint", c.Endpoint(), c.Endpoint())
	return s
}
