package httpapi

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

type logInput struct {
	PathID
	Tail   int  `query:"tail" doc:"Lines from the end; all that is kept when left out" minimum:"0" maximum:"1000000"`
	Follow bool `query:"follow" doc:"Go on with what the guest says from now on"`
}

func (a *api) addLog() {
	add(a, huma.Operation{
		OperationID: "get-vm-log", Method: http.MethodGet, Path: "/v1/vms/{id}/log", Tags: []string{"vms"}, Summary: "What the guest said on its serial port",
		Description: "The bytes are the guest's own: do not show them on a terminal or a page without care.",
		Responses: map[string]*huma.Response{"200": {Description: "The kept output", Content: map[string]*huma.MediaType{
			"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, route{stream: true, reads: readsTry, ids: plainIDs, noun: "virtual machine"}, a.log)
}

func (a *api) log(ctx context.Context, in *logInput) (*answer, error) {
	request := requestOf(ctx)
	ctx, end, err := a.longLived(ctx, request)
	if err != nil {
		return nil, err
	}
	request.release = append(request.release, end)
	output, err := a.service.Log(ctx, request.caller, Ref{Kind: v1.KindVM, ID: in.ID, Project: in.Project}, in.Tail, in.Follow)
	if err != nil {
		return nil, err
	}
	return &answer{stream: func(c *gin.Context) {
		defer output.Close()
		// A reader that waits for the guest must not keep a client's place after the client has gone.
		unhook := context.AfterFunc(ctx, func() { _ = output.Close() })
		defer unhook()
		header := c.Writer.Header()
		header.Set("Content-Type", "text/plain; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		c.Status(http.StatusOK)
		out := a.piecewise(c)
		if out.flush() != nil {
			return
		}
		if _, err := io.Copy(out, output); err != nil && ctx.Err() == nil {
			a.logger.WarnContext(ctx, "a guest's log ended early", "request", request.id, "error", err)
			if !in.Follow {
				panic(http.ErrAbortHandler) // cut off, so that the client does not take a part for the whole
			}
		}
	}}, nil
}
