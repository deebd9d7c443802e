package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// ConsoleProtocol is the websocket subprotocol of consoles: binary messages both ways, whose borders mean nothing.
const ConsoleProtocol = "coloa.console.v1"

func (a *api) addConsole() {
	add(a, huma.Operation{
		OperationID: "attach-vm-console", Method: http.MethodGet, Path: "/v1/vms/{id}/console", Tags: []string{"vms"}, Summary: "Attach to the guest's serial port",
		Description: "A websocket with the subprotocol " + ConsoleProtocol + ": binary messages both ways. The close frame says why it ended.",
		Responses:   map[string]*huma.Response{"101": {Description: "The websocket begins"}},
	}, route{stream: true, reads: readsTry, ids: plainIDs, noun: "virtual machine"}, a.console)
}

func (a *api) console(ctx context.Context, in *PathID) (*answer, error) {
	request := requestOf(ctx)
	if problem := checkUpgrade(request.gin.Request); problem != nil {
		return nil, problem
	}
	ctx, end, err := a.longLived(ctx, request)
	if err != nil {
		return nil, err
	}
	request.release = append(request.release, end)
	serial, err := a.service.Console(ctx, request.caller, Ref{Kind: v1.KindVM, ID: in.ID, Project: in.Project})
	if err != nil {
		return nil, err
	}
	return &answer{stream: func(c *gin.Context) {
		defer serial.Close()
		socket, err := websocket.Accept(c.Writer, c.Request, &websocket.AcceptOptions{Subprotocols: []string{ConsoleProtocol}})
		if err != nil {
			a.logger.InfoContext(ctx, "no websocket for a console", "request", request.id, "error", err)
			return
		}
		a.attach(ctx, socket, serial)
	}}, nil
}

// checkUpgrade refuses what is no websocket handshake from ourselves, before anything is opened for it.
func checkUpgrade(r *http.Request) *v1.Problem {
	const next = "Use a websocket client over HTTP/1.1 with the subprotocol " + ConsoleProtocol + " (coloa vm console)."
	switch {
	case r.ProtoMajor != 1, !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"),
		r.Header.Get("Sec-WebSocket-Version") != "13", len(r.Header.Values("Sec-WebSocket-Key")) != 1:
		problem := malformed("This is a websocket, and the request is no handshake for one.").WithNext(next)
		return problem
	case !hasToken(r.Header, "Sec-WebSocket-Protocol", ConsoleProtocol):
		return malformed("The handshake does not offer the subprotocol %s.", ConsoleProtocol).WithNext(next)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		// A page of another site could make a browser come here.
		if from, err := url.Parse(origin); err != nil || !strings.EqualFold(from.Host, r.Host) {
			return v1.NewProblem(v1.CodeDenied, "Consoles are not opened for pages of other sites.").WithNext(next)
		}
	}
	return nil
}

func hasToken(header http.Header, name, token string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(header.Values(name), ","), ","), func(part string) bool {
		return strings.EqualFold(strings.TrimSpace(part), token)
	})
}

// attach copies both ways until one side, the token or the controller ends it, and tells the client why in the close frame.
func (a *api) attach(ctx context.Context, socket *websocket.Conn, serial io.ReadWriteCloser) {
	// The connection has its own context: ending it with ctx would cut the client off before it is told why.
	carrier, drop := context.WithCancel(context.WithoutCancel(ctx))
	defer drop()
	stream := websocket.NetConn(carrier, socket, websocket.MessageBinary)
	type ending struct {
		code   websocket.StatusCode
		reason string
	}
	endings := make(chan ending, 3)
	go func() {
		_, err := io.Copy(&timedWriter{Conn: stream, timeout: a.limits.WriteTimeout}, serial)
		if err != nil {
			endings <- ending{websocket.StatusInternalError, "the connection to the guest broke off"}
			return
		}
		endings <- ending{websocket.StatusNormalClosure, "the guest closed its serial port"}
	}()
	go func() {
		_, err := io.Copy(serial, stream)
		var gone *websocket.CloseError
		if err != nil && !errors.As(err, &gone) && carrier.Err() == nil {
			endings <- ending{websocket.StatusInternalError, "the connection broke off"}
			return
		}
		endings <- ending{websocket.StatusNormalClosure, "the client left"}
	}()
	go func() {
		ticker := time.NewTicker(a.limits.KeepAlive)
		defer ticker.Stop()
		for {
			select {
			case <-carrier.Done():
				return
			case <-ticker.C:
			}
			ping, cancel := context.WithTimeout(carrier, a.limits.WriteTimeout)
			err := socket.Ping(ping)
			cancel()
			if err != nil {
				endings <- ending{websocket.StatusGoingAway, "the client is silent"}
				return
			}
		}
	}()
	var end ending
	select {
	case end = <-endings:
	case <-ctx.Done():
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errTokenEnd):
			end = ending{websocket.StatusPolicyViolation, cause.Error()}
		case errors.Is(cause, errStopping):
			end = ending{websocket.StatusServiceRestart, cause.Error()}
		default:
			end = ending{websocket.StatusGoingAway, "the request ended"}
		}
	}
	_ = socket.Close(end.code, end.reason) // waits a little for the client's own close frame
}

// timedWriter cuts off a client that does not take what it is sent.
type timedWriter struct {
	net.Conn
	timeout time.Duration
}

func (w *timedWriter) Write(data []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(data)
}
