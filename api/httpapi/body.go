package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file bounds and inspects what a request carries, before huma and the handlers see it.

const maxQueryValue = 1024 // bytes

// check is the last stop before huma: path, query, body.
func (a *api) check(ctx huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(ctx)
	request := requestOf(c.Request.Context())
	if ids := request.route.ids; ids != nil && !ids.MatchString(c.Param("id")) {
		a.refuse(c, v1.NewProblem(v1.CodeNotFound, "There is no %s of this name or id.", request.route.noun))
		return
	}
	if problem := checkQuery(c.Request.URL.RawQuery, ctx.Operation().Parameters); problem != nil {
		a.refuse(c, problem)
		return
	}
	if problem := checkHeaders(c.Request.Header, ctx.Operation().Parameters); problem != nil {
		a.refuse(c, problem)
		return
	}
	if err := a.readBody(c, request); err != nil {
		a.refuse(c, err)
		return
	}
	next(ctx)
}

// checkQuery refuses parameters that are unknown, repeated, or hold what no parameter of ours holds.
func checkQuery(raw string, parameters []*huma.Param) *v1.Problem {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return malformed("The query cannot be read.")
	}
	known := map[string]*huma.Param{}
	for _, parameter := range parameters {
		if parameter.In == "query" {
			known[parameter.Name] = parameter
		}
	}
	var wrong []v1.FieldError
	for name, values := range query {
		parameter := known[name]
		if parameter == nil {
			wrong = append(wrong, v1.FieldError{Field: printable(name), Detail: "is an unknown query parameter"})
			continue
		}
		if len(values) > 1 && (parameter.Explode == nil || !*parameter.Explode) {
			return malformed("The query parameter %s is there more than once.", name).WithField(name)
		}
		for _, value := range values {
			switch {
			case len(value) > maxQueryValue:
				wrong = append(wrong, v1.FieldError{Field: name, Detail: "is too long"})
			case !plain(value):
				wrong = append(wrong, v1.FieldError{Field: name, Detail: "holds control characters or is not UTF-8"})
			case name == "project" && value != "" && !v1.IsID(value) && !v1.IsName(value):
				wrong = append(wrong, v1.FieldError{Field: name, Detail: "is neither a name nor an id"})
			}
		}
	}
	if len(wrong) > 0 {
		return invalid(wrong...)
	}
	return nil
}

// checkHeaders refuses conditions that the operation would not honour: a client that sends one relies on it.
func checkHeaders(header http.Header, parameters []*huma.Param) *v1.Problem {
	for _, name := range []string{"If-Match", "If-Unmodified-Since"} {
		honoured := slices.ContainsFunc(parameters, func(p *huma.Param) bool { return p.In == "header" && p.Name == name })
		if header.Get(name) != "" && !honoured {
			return malformed("The header %s is not honoured here.", name).WithNext("Only PUT, PATCH and DELETE take If-Match; send this request without it.")
		}
	}
	return nil
}

func plain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// bodyLimit is how many bytes the request's body may have.
func (a *api) bodyLimit(request *request) int64 {
	switch request.route.body {
	case bodyNone:
		return 0
	case bodyUpload:
		return a.limits.MaxUploadBytes
	}
	return a.limits.MaxBodyBytes
}

// boundBody refuses a body by what its headers say, and bounds the reading of the rest.
func (a *api) boundBody(c *gin.Context, request *request) error {
	limit, length := a.bodyLimit(request), c.Request.ContentLength
	if request.route.body == bodyNone {
		if length != 0 && c.Request.Body != nil && c.Request.Body != http.NoBody {
			return malformed("This request takes no body.")
		}
		return nil
	}
	if length > limit {
		return bodyTooLarge(limit)
	}
	if encoding := c.Request.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return v1.NewProblem(v1.CodeUnsupportedMedia, "The body is encoded (Content-Encoding).").WithNext("Send it as it is.")
	}
	if length != 0 {
		if problem := checkMedia(c.Request.Header.Get("Content-Type"), request.route.body); problem != nil {
			return problem
		}
	}
	timeout := a.limits.BodyTimeout
	if request.route.body == bodyUpload {
		timeout = a.limits.UploadIdleTimeout
	}
	if c.Request.Body != nil {
		c.Request.Body = &boundedBody{
			body: c.Request.Body, control: http.NewResponseController(c.Writer), left: limit, limit: limit,
			timeout: timeout, renew: request.route.body == bodyUpload,
		}
	}
	return nil
}

// checkMedia says whether the body's type is one that the operation reads.
func checkMedia(header string, kind bodyKind) *v1.Problem {
	allowed := []string{"application/json"}
	switch kind {
	case bodyPatch:
		allowed = []string{"application/merge-patch+json", "application/json"}
	case bodyUpload:
		allowed = []string{"application/octet-stream"}
	}
	media, parameters, err := mime.ParseMediaType(header)
	if err == nil {
		charset := parameters["charset"]
		for _, candidate := range allowed {
			if media == candidate && (charset == "" || strings.EqualFold(charset, "utf-8")) {
				return nil
			}
		}
	}
	return v1.NewProblem(v1.CodeUnsupportedMedia, "The body's type is not one that is read here.").WithNext("Send it with Content-Type: %s.", allowed[0])
}

// readBody reads and inspects a JSON body. Uploads stay unread.
func (a *api) readBody(c *gin.Context, request *request) error {
	if err := a.boundBody(c, request); err != nil {
		return err
	}
	if request.route.body == bodyNone || request.route.body == bodyUpload {
		return nil
	}
	var raw []byte
	if c.Request.Body != nil {
		var err error
		if raw, err = io.ReadAll(c.Request.Body); err != nil {
			return err
		}
	}
	if len(raw) == 0 {
		if request.route.body != bodyJSONOptional {
			return malformed("The request needs a body.")
		}
		raw = []byte("{}")
	}
	if problem := inspect(raw); problem != nil {
		return problem
	}
	request.raw = raw
	c.Request.Body = io.NopCloser(bytes.NewReader(raw))
	return nil
}

// boundedBody reads at most limit bytes. JSON must be there by one deadline; an upload may take long, but must not stand still.
type boundedBody struct {
	body        io.ReadCloser
	control     *http.ResponseController
	left, limit int64
	timeout     time.Duration
	renew       bool // for each read
	begun       bool
	ended       error
	failed      atomic.Pointer[v1.Problem] // why it could not be read; forwarding asks while the transport may still read
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.ended != nil {
		return 0, b.ended
	}
	if !b.begun || b.renew {
		b.begun = true
		_ = b.control.SetReadDeadline(time.Now().Add(b.timeout)) // not every transport has deadlines
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), &http.MaxBytesError{Limit: b.limit}
	}
	b.left -= int64(n)
	if errors.Is(err, io.EOF) {
		// net/http goes on reading in order to see the client leave. After an error the deadline stays, or net/http would wait for the rest.
		_ = b.control.SetReadDeadline(time.Time{})
		b.ended = io.EOF
		return n, b.ended
	}
	if err != nil {
		problem := readProblem(err)
		b.failed.Store(problem)
		b.ended = problem
		return n, b.ended
	}
	return n, nil
}

func (b *boundedBody) Close() error { return b.body.Close() }

// readProblem says in words of ours why a body could not be read to its end.
func readProblem(err error) *v1.Problem {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return bodyTooLarge(tooLarge.Limit)
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		problem := v1.NewProblem(v1.CodeTimeout, "The body did not arrive in time.").WithNext("Send the request again.")
		problem.Status = http.StatusRequestTimeout
		return problem
	}
	return malformed("The body ended before its end.")
}
