package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Login exchanges a one-time token, or name and password, for a token. It is not repeated once a controller may have seen it: a one-time token works once.
func (c *Client) Login(ctx context.Context, request v1.LoginRequest) (v1.LoginResponse, error) {
	return post[v1.LoginResponse](ctx, c, "/v1/login", nil, request, true)
}

// Logout ends the token in use.
func (c *Client) Logout(ctx context.Context) error {
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/v1/logout"})
	return err
}

// WhoAmI tells who the token in use acts as.
func (c *Client) WhoAmI(ctx context.Context) (v1.Identity, error) {
	return get[v1.Identity](ctx, c, "/v1/whoami")
}

// SetPassword sets a user's password.
func (c *Client) SetPassword(ctx context.Context, user string, request v1.PasswordRequest) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{method: http.MethodPost, path: "/v1/users/" + url.PathEscape(user) + "/password", body: body, once: true})
	return err
}

// CreateToken makes a token. Its text is given only this once, so the request is not repeated once a controller may have seen it.
func (c *Client) CreateToken(ctx context.Context, draft Draft) (v1.NewToken, error) {
	return post[v1.NewToken](ctx, c, "/v1/tokens", nil, draft, true)
}

// ClusterStatus tells how the cloud is.
func (c *Client) ClusterStatus(ctx context.Context) (v1.ClusterStatus, error) {
	return get[v1.ClusterStatus](ctx, c, "/v1/cluster")
}

// ExplainVM says where a VM would be placed, and makes nothing.
func (c *Client) ExplainVM(ctx context.Context, draft Draft) (v1.Placement, error) {
	draft.Project = c.projectOr(draft.Project)
	return post[v1.Placement](ctx, c, "/v1/vms", url.Values{"dryRun": {"true"}}, draft, false)
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var result T
	answer, err := c.do(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return result, err
	}
	return result, decode(answer, &result)
}

func post[T any](ctx context.Context, c *Client, path string, query url.Values, request any, once bool) (T, error) {
	var result T
	body, err := json.Marshal(request)
	if err != nil {
		return result, err
	}
	answer, err := c.do(ctx, call{method: http.MethodPost, path: path, query: query, body: body, once: once})
	if err != nil {
		return result, err
	}
	return result, decode(answer, &result)
}
