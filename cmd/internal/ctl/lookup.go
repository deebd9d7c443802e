package ctl

import (
	"context"
	"time"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file turns names into ids and ids into names.

// idOf turns a name into an id; "" as kind leaves the text.
func (a *app) idOf(ctx context.Context, c *client.Client, kind v1.Kind, text string) (string, error) {
	if kind == "" || v1.IsID(text) {
		return text, nil
	}
	switch kind {
	case v1.KindVM:
		return idBy[v1.VM](ctx, c, text)
	case v1.KindVolume:
		return idBy[v1.Volume](ctx, c, text)
	case v1.KindHost:
		return idBy[v1.Host](ctx, c, text)
	}
	return text, nil
}

func idBy[T any, P client.Noun[T]](ctx context.Context, c *client.Client, name string) (string, error) {
	object, err := client.Get[T, P](ctx, c, client.Ref{ID: name})
	if err != nil {
		return "", err
	}
	return P(object).ObjectMeta().ID, nil
}

// lookup finds the names of ids, a kind at a time; what cannot be found is shown as a short id.
type lookup struct {
	app   *app
	ctx   context.Context
	on    bool
	known map[v1.Kind]map[string]string
}

func (a *app) newLookup(ctx context.Context, on bool) *lookup {
	return &lookup{app: a, ctx: ctx, on: on, known: map[v1.Kind]map[string]string{}}
}

func (l *lookup) name(kind v1.Kind, id string) string {
	if !l.on || !v1.IsID(id) {
		return id
	}
	names, asked := l.known[kind]
	if !asked {
		names = l.app.namesByID(l.ctx, kind)
		l.known[kind] = names
	}
	if name := names[id]; name != "" {
		return name
	}
	return v1.Short(id)
}

func (a *app) namesByID(ctx context.Context, kind v1.Kind) map[string]string {
	c, err := a.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch kind {
	case v1.KindVM:
		return namesOf[v1.VM](ctx, c)
	case v1.KindVolume:
		return namesOf[v1.Volume](ctx, c)
	case v1.KindHost:
		return namesOf[v1.Host](ctx, c)
	case v1.KindProject:
		return namesOf[v1.Project](ctx, c)
	case v1.KindUser:
		return namesOf[v1.User](ctx, c)
	}
	return nil
}

func namesOf[T any, P client.Noun[T]](ctx context.Context, c *client.Client) map[string]string {
	page, err := client.List[T, P](ctx, c, client.Query{All: true, Limit: 1000})
	if err != nil {
		return nil // a reader may not see them all; short ids are shown then
	}
	names := make(map[string]string, len(page.Items))
	for _, object := range page.Items {
		names[P(object).ObjectMeta().ID] = P(object).ObjectMeta().Name
	}
	return names
}
