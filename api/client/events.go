package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const (
	maxEventBytes = 1 << 20
	// silence after which a stream is given up: the controller sends a sign of life every 15 s.
	maxSilence = 50 * time.Second
)

// EventsQuery chooses events.
type EventsQuery struct {
	After   string // position; "" from now on, "0" from the oldest kept
	Project string // name or id; "" for the client's project, and when that is empty for all that the caller sees
	All     bool   // of all projects, whatever the client's project is
	Limit   int    // of one page (ListEvents only)
}

// EventsPage is a part of the events.
type EventsPage struct {
	Items []v1.Event `json:"items"`
	Next  string     `json:"next"` // position to go on from
}

// ListEvents returns events after a position, at once.
func (c *Client) ListEvents(ctx context.Context, query EventsQuery) (EventsPage, error) {
	values := c.eventValues(query)
	if query.Limit > 0 {
		values.Set("limit", strconv.Itoa(query.Limit))
	}
	var page EventsPage
	answer, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/events", query: values})
	if err != nil {
		return page, err
	}
	return page, decode(answer, &page)
}

// Events hands on events as they happen, in order, until ctx ends or handle returns an error. When the stream breaks, it goes on where it stopped,
// with another controller if need be. CodeNotFound when the position is older than what is kept.
func (c *Client) Events(ctx context.Context, query EventsQuery, handle func(v1.Event) error) error {
	if query.After == "" {
		// Without a position, what happens while a broken stream is opened again would be lost.
		page, err := c.ListEvents(ctx, EventsQuery{Project: query.Project, All: query.All, Limit: 1})
		if err != nil {
			return err
		}
		query.After = page.Next
	}
	for {
		progressed, err := c.streamEvents(ctx, &query, handle)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, errBroken) {
			return err
		}
		if !progressed {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
		}
	}
}

var errBroken = errors.New("the stream of events broke")

func (c *Client) streamEvents(ctx context.Context, query *EventsQuery, handle func(v1.Event) error) (progressed bool, err error) {
	header := http.Header{"Accept": {"text/event-stream"}}
	if query.After != "" {
		header.Set("Last-Event-ID", query.After)
	}
	answer, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/events", query: c.eventValues(*query), header: header, stream: true})
	if err != nil {
		return false, err
	}
	defer answer.stream.Close()
	silence := time.AfterFunc(maxSilence, func() { answer.stream.Close() })
	defer silence.Stop()
	reader := bufio.NewReader(answer.stream)
	for {
		message, err := readMessage(reader, func() { silence.Reset(maxSilence) })
		if err != nil {
			return progressed, fmt.Errorf("%w: %w", errBroken, err)
		}
		if len(message.data) == 0 {
			continue
		}
		var event v1.Event
		if err := json.Unmarshal(message.data, &event); err != nil {
			return progressed, v1.NewProblem(v1.CodeInternal, "an event cannot be read: %v", err).WithNext("Check that client and controller are of the same version.")
		}
		if err := handle(event); err != nil {
			return progressed, err
		}
		progressed = true
		if message.id != "" {
			query.After = message.id
		} else if event.ID != "" {
			query.After = event.ID
		}
	}
}

func (c *Client) eventValues(query EventsQuery) url.Values {
	values := url.Values{}
	if query.After != "" {
		values.Set("after", query.After)
	}
	if project := c.projectOr(query.Project); project != "" && !query.All {
		values.Set("project", project)
	}
	return values
}

// message is one server-sent event (WHATWG HTML, section 9.2).
type message struct {
	id   string
	data []byte
}

// readMessage reads to the next empty line. alive is called for every line, comments included.
func readMessage(reader *bufio.Reader, alive func()) (message, error) {
	var result message
	size := 0
	for {
		line, err := readLine(reader, maxEventBytes-size)
		if err != nil {
			return message{}, err
		}
		alive()
		size += len(line)
		if len(line) == 0 {
			return result, nil
		}
		field, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			if !strings.ContainsRune(value, 0) {
				result.id = value
			}
		case "data":
			if result.data != nil {
				result.data = append(result.data, '\n')
			}
			result.data = append(result.data, value...)
		}
	}
}

func readLine(reader *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := reader.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return nil, fmt.Errorf("an event is longer than %d bytes", maxEventBytes)
		}
		switch {
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}
