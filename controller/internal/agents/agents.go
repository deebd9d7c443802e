// Package agents reaches the agents' own port for consoles and logs. Everything else goes the other way: agents dial controllers.
package agents

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/coder/websocket"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Client reaches agents. Transport gives the round tripper for a host: the real one dials by TLS and accepts the certificate of that host alone.
type Client struct {
	Transport func(host string) http.RoundTripper
}

const dialTime = 10 * time.Second

// Get opens a stream from the agent of a host.
func (c *Client) Get(ctx context.Context, host *v1.Host, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host.Status.Address+path, nil)
	if err != nil {
		return nil, v1.NewProblem(v1.CodeInternal, "%v", err)
	}
	answer, err := c.Transport(host.ID).RoundTrip(request)
	if err != nil {
		return nil, unreachable(host, err)
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		return nil, problemOf(answer)
	}
	return answer.Body, nil
}

// Dial opens a two-way stream to the agent of a host. It lives until it is closed or ctx ends.
func (c *Client) Dial(ctx context.Context, host *v1.Host, path string) (io.ReadWriteCloser, error) {
	dialing, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	connection, answer, err := websocket.Dial(dialing, "https://"+host.Status.Address+path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: c.Transport(host.ID)}}) //nolint:bodyclose // the library has closed it
	if err != nil {
		if answer != nil && answer.StatusCode >= 400 {
			return nil, problemOf(answer)
		}
		return nil, unreachable(host, err)
	}
	connection.SetReadLimit(1 << 20)
	return websocket.NetConn(ctx, connection, websocket.MessageBinary), nil
}

func unreachable(host *v1.Host, err error) *v1.Problem {
	// Tenants read this: which host it is, and where, is for the log.
	slog.Warn("an agent cannot be reached", "host", host.Name, "error", err)
	return v1.NewProblem(v1.CodeUnavailable, "the machine's host cannot be reached").WithNext("Try again later.")
}

func problemOf(answer *http.Response) error {
	problem := new(v1.Problem)
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(problem); err != nil || problem.Code == "" {
		return v1.NewProblem(v1.CodeUnavailable, "the agent answered %s", answer.Status)
	}
	return problem
}
