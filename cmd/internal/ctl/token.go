package ctl

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) tokens() *cobra.Command {
	n := noun[v1.Token, *v1.Token]{app: a, key: "token", columns: []column[v1.Token]{
		refColumn("user", always, v1.KindUser, func(o *v1.Token) string { return first(o.Status.UserID, o.Spec.User) }),
		{
			key: "expires", value: func(o *v1.Token) string { return stamp(expiry(o)) },
			human: func(a *app, o *v1.Token) string {
				left := expiry(o).Sub(a.now())
				if left <= 0 {
					return a.T("token.over")
				}
				return a.T("token.left", "Span", a.span(left))
			},
		},
		yesNo("one-time", ifRoom, func(o *v1.Token) bool { return o.Spec.OneTime }),
	}}
	group := a.group("token", "token", "tokens")
	group.AddCommand(n.list(), n.show(), a.tokenCreate(n), n.delete())
	return group
}

func expiry(o *v1.Token) time.Time {
	if o.Spec.ExpiresAt == nil {
		return time.Time{}
	}
	return *o.Spec.ExpiresAt
}

// tokenCreate prints the text alone on standard output: it is shown this once.
func (a *app) tokenCreate(n noun[v1.Token, *v1.Token]) *cobra.Command {
	expires := ""
	return n.create(creation{
		setup: func(s *specFlags) {
			s.ref("user", "user", "users")
			s.boolean("one-time", "oneTime")
			s.command.Flags().StringVar(&expires, "expires", "", s.usage("expires"))
		},
		before: func(ctx context.Context, draft *client.Draft) (bool, error) {
			if expires != "" {
				at, err := a.parseMoment(expires)
				if err != nil {
					return false, err
				}
				draft.Spec.(map[string]any)["expiresAt"] = at.UTC().Format(time.RFC3339)
			}
			c, err := a.client()
			if err != nil {
				return false, err
			}
			made, err := c.CreateToken(ctx, *draft)
			if err != nil {
				return false, err
			}
			a.notice(a.T("token.once"))
			if a.forPeople() {
				return true, a.write(plain(made.Secret) + "\n")
			}
			return true, a.print(result{data: made, names: []string{made.Token.ID}, sheet: func() *sheet {
				return &sheet{columns: []heading{{key: "id"}, {key: "secret"}}, rows: [][]cell{{{machine: made.Token.ID}, {machine: made.Secret}}}}
			}})
		},
	})
}

// parseMoment reads a span from now ("12h", "30d") or a moment ("2026-12-31", RFC 3339).
func (a *app) parseMoment(text string) (time.Time, error) {
	if span, err := parseSpan(text); err == nil {
		return a.now().Add(span), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, a.usage("error.moment", "Value", text)
}

// parseSpan reads a Go duration, or days ("30d").
func parseSpan(text string) (time.Duration, error) {
	if days, found := strings.CutSuffix(text, "d"); found {
		number, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(number) * 24 * time.Hour, err
	}
	span, err := time.ParseDuration(text)
	if err == nil && span < 0 {
		err = strconv.ErrRange
	}
	return span, err
}
