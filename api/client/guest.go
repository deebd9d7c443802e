package client

import (
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// ConsoleProtocol is the websocket subprotocol of consoles: binary messages, the serial port's bytes.
const ConsoleProtocol = "coloa.console.v1"

// LogOptions choose a part of a serial log.
type LogOptions struct {
	Tail   int  // last lines; 0 for all that is kept
	Follow bool // go on until ctx ends
}

// Log opens the kept serial output of a VM. The bytes are the guest's own: they may hold anything, escape sequences included.
func (c *Client) Log(ctx context.Context, ref Ref, options LogOptions) (io.ReadCloser, error) {
	path, query := c.refPath("/v1/vms", true, ref)
	if options.Tail > 0 {
		query.Set("tail", strconv.Itoa(options.Tail))
	}
	if options.Follow {
		query.Set("follow", "true")
	}
	answer, err := c.do(ctx, call{method: http.MethodGet, path: path + "/log", query: query, stream: true, header: http.Header{"Accept": {"text/plain"}}})
	if err != nil {
		return nil, err
	}
	return answer.stream, nil
}

// Console attaches to a VM's serial port. The connection lives until it is closed or ctx ends.
func (c *Client) Console(ctx context.Context, ref Ref) (net.Conn, error) {
	path, query := c.refPath("/v1/vms", true, ref)
	header := http.Header{}
	if c.options.Token != "" {
		header.Set("Authorization", "Bearer "+c.options.Token)
	}
	if c.options.UserAgent != "" {
		header.Set("User-Agent", c.options.UserAgent)
	}
	var last error
	first := c.first()
	for i := range c.endpoints {
		index := (first + i) % len(c.endpoints)
		address := *c.endpoints[index]
		address.Path, address.RawQuery = "", ""
		dialContext, cancel := context.WithTimeout(ctx, 20*time.Second)
		socket, response, err := websocket.Dial(dialContext, address.String()+path+"/console?"+query.Encode(), &websocket.DialOptions{
			HTTPClient: c.sockets, HTTPHeader: header, Subprotocols: []string{ConsoleProtocol},
		})
		cancel()
		if err == nil {
			socket.SetReadLimit(1 << 20)
			return websocket.NetConn(ctx, socket, websocket.MessageBinary), nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if response == nil {
			last = c.connectError(err)
			continue
		}
		problem := consoleProblem(response)
		if problem.Code != v1.CodeUnavailable {
			return nil, problem
		}
		last = problem
	}
	return nil, last
}

// consoleProblem reads a refused upgrade; the websocket library hands on the beginning of the body alone.
func consoleProblem(response *http.Response) *v1.Problem {
	var body []byte
	if response.Body != nil {
		defer response.Body.Close()
		body, _ = io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	}
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return problemFrom(response.StatusCode, media, body)
}

// ConsoleClosed says whether an error of a console's Read means no more than that the other side ended it.
func ConsoleClosed(err error) bool {
	status := websocket.CloseStatus(err)
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || status == websocket.StatusNormalClosure || status == websocket.StatusGoingAway
}
