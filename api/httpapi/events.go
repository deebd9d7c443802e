package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const eventStream = "text/event-stream"

// promptly is the time that Events gets to find what is there already.
const promptly = 50 * time.Millisecond

type eventsInput struct {
	After   string `query:"after" doc:"Id of the last event seen; 0 for the oldest kept; from now on when left out"`
	Project string `query:"project" doc:"Name or id of a project; all that the caller sees when left out"`
	Limit   int    `query:"limit" doc:"Most events in one answer (JSON)" default:"100" minimum:"1" maximum:"1000"`
	Last    string `header:"Last-Event-ID" doc:"Goes on after this event; sent by clients that connect again"`
}

// eventPage documents the JSON answer.
type eventPage struct {
	Items []v1.Event `json:"items" nullable:"false" doc:"The events, oldest first"`
	Next  string     `json:"next" doc:"Send it as after to go on"`
}

func (a *api) addEvents() {
	responses := objectResponse("Events as JSON, or a stream of server-sent events when that is accepted", a.schema(reflect.TypeFor[eventPage]()))
	responses["200"].Content[eventStream] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString,
		Description: "id: the event's id; event: kind.action, for example VM.created; data: the event as JSON. A problem ends the stream as event: problem."}}
	add(a, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/events", Tags: []string{"events"}, Summary: "What happened",
		Description: "With Accept: text/event-stream it goes on for as long as the client listens, and takes up where Last-Event-ID left.",
		Parameters:  []*huma.Param{waitParameter()},
		Responses:   responses,
	}, route{stream: true, resumes: true}, a.events)
}

func (a *api) events(ctx context.Context, in *eventsInput) (*answer, error) {
	after := in.After
	if in.Last != "" {
		after = in.Last // newer than the address, which a client that connects again repeats
	}
	if after != "" && !positionForm.MatchString(after) {
		return nil, invalidField("after", "is no id of an event")
	}
	request := requestOf(ctx)
	wait, err := parseWait(request.gin.Query("wait"))
	if err != nil {
		return nil, err
	}
	if accepts(request.gin.Request.Header.Get("Accept"), eventStream) {
		return a.streamEvents(ctx, request, after, in)
	}
	if wait == 0 {
		wait = promptly
	} else {
		longer, end, err := a.longLived(ctx, request)
		if err != nil {
			return nil, err
		}
		defer end()
		ctx = longer
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	events, next, err := a.nextEvents(ctx, request.caller, after, in.Project, in.Limit)
	if err != nil {
		return nil, err
	}
	if events == nil {
		events = []v1.Event{}
	}
	return encode(http.StatusOK, eventPage{Items: events, Next: next})
}

// nextEvents asks the service; that the time is over is no error.
func (a *api) nextEvents(ctx context.Context, caller Caller, after, project string, limit int) ([]v1.Event, string, error) {
	events, next, err := a.service.Events(ctx, caller, after, project, limit)
	if err != nil && ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		events, err = nil, nil
	}
	if next == "" {
		next = after
	}
	return events, next, err
}

func accepts(header, media string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, _, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(name), media) {
			return true
		}
	}
	return false
}

// streamEvents begins with a short look, so that what is refused is refused with its status; then it goes on.
func (a *api) streamEvents(ctx context.Context, request *request, after string, in *eventsInput) (*answer, error) {
	ctx, end, err := a.longLived(ctx, request)
	if err != nil {
		return nil, err
	}
	request.release = append(request.release, end)
	first, cancel := context.WithTimeout(ctx, promptly)
	defer cancel()
	events, after, err := a.nextEvents(first, request.caller, after, in.Project, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer{stream: func(c *gin.Context) {
		c.Writer.Header().Set("Content-Type", eventStream)
		c.Writer.Header().Set("X-Accel-Buffering", "no")
		c.Status(http.StatusOK)
		out := a.piecewise(c)
		if out.flush() != nil {
			return
		}
		for {
			if err := writeEvents(out, events); err != nil {
				return // gone, or too slow: it can take up where it was
			}
			if ctx.Err() != nil {
				return
			}
			round, cancel := context.WithTimeout(ctx, a.limits.KeepAlive)
			events, after, err = a.nextEvents(round, request.caller, after, in.Project, in.Limit)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				// What the caller may see can change while the stream runs.
				err = a.refresh(ctx, request)
			}
			if err != nil {
				problem := a.toProblem(ctx, err)
				data, _ := json.Marshal(problem) // strings and numbers only
				_, _ = fmt.Fprintf(out, "event: problem\ndata: %s\n\n", data)
				return
			}
		}
	}}, nil
}

// refresh looks the caller up again.
func (a *api) refresh(ctx context.Context, request *request) error {
	caller, err := a.service.Authenticate(ctx, request.secret)
	if err != nil {
		return err
	}
	request.caller = caller
	return nil
}

// writeEvents writes the events, or a sign of life when there are none.
func writeEvents(out *piecewise, events []v1.Event) error {
	if len(events) == 0 {
		_, err := out.Write([]byte(": keep-alive\n\n"))
		return err
	}
	var text strings.Builder
	for _, event := range events {
		data, err := json.Marshal(event)
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "id: %s\nevent: %s.%s\ndata: %s\n\n", oneLine(event.ID), oneLine(string(event.Object.Kind)), oneLine(string(event.Action)), data)
	}
	_, err := out.Write([]byte(text.String()))
	return err
}

func oneLine(text string) string { return strings.NewReplacer("\n", "", "\r", "").Replace(text) }
