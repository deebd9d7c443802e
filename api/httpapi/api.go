package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// api is the handler's inside.
type api struct {
	service  Service
	version  string
	logger   *slog.Logger
	limits   Limits
	stopping <-chan struct{}

	engine *gin.Engine
	huma   huma.API
	routes map[string]*route // by method and gin's pattern

	tokens    *limiter
	addresses *limiter
	streams   *gate
	metrics   *metrics
	readiness readiness

	documentJSON, documentYAML func() ([]byte, error)
}

// route is what the way of a request through this package depends on.
type route struct {
	public  bool           // no token needed; a test holds the list of these
	reads   consistency    // of a GET
	resumes bool           // with Last-Event-ID it goes on from what the client has seen, so there is nothing to catch up with
	stream  bool           // may go on for long: no deadline for the whole answer, a bounded number for each user
	body    bodyKind       // of the request
	ids     *regexp.Regexp // form of {id}; anything else is not found
	noun    string         // what {id} names, for people
}

type consistency int

const (
	readsAll     consistency = iota // sees every change acknowledged anywhere before
	readsTry                        // the same where possible; without a leader it answers with what is known here
	readsNothing                    // reads nothing replicated
)

type bodyKind int

const (
	bodyNone bodyKind = iota
	bodyJSON
	bodyJSONOptional // an empty body means {}
	bodyPatch        // JSON, also as merge patch
	bodyUpload       // bytes, streamed
)

func init() { gin.SetMode(gin.ReleaseMode) } // once, before any engine: otherwise gin prints to stdout

// New makes the handler of the whole HTTP surface. The handler starts no goroutine of its own.
func New(options Options) (http.Handler, error) {
	a, err := build(options)
	if err != nil {
		return nil, err
	}
	return a.engine, nil
}

func build(options Options) (*api, error) {
	if err := options.complete(); err != nil {
		return nil, err
	}
	a := &api{
		service: options.Service, version: options.Version, logger: options.Logger, limits: options.Limits, stopping: options.Stopping,
		engine:    gin.New(),
		routes:    map[string]*route{},
		tokens:    newLimiter(options.Limits.RatePerToken, options.Limits.BurstPerToken),
		addresses: newLimiter(options.Limits.RatePerAddress, options.Limits.BurstPerAddress),
		streams:   newGate(options.Limits.StreamsPerUser),
	}
	var err error
	if a.metrics, err = newMetrics(options.Metrics); err != nil {
		return nil, err
	}
	// The path is matched as it was sent, so that an encoded slash stays inside its segment and is refused there. Nothing is redirected:
	// a client that follows a redirect would send its token along.
	a.engine.UseRawPath = true
	a.engine.UnescapePathValues = true
	a.engine.RedirectTrailingSlash = false
	a.engine.RedirectFixedPath = false
	a.engine.HandleMethodNotAllowed = true
	a.engine.ForwardedByClientIP = false
	if err := a.engine.SetTrustedProxies(nil); err != nil {
		return nil, err
	}
	a.engine.Use(a.observe, a.enter, a.where)
	a.engine.NoRoute(func(c *gin.Context) {
		a.refuse(c, v1.NewProblem(v1.CodeNotFound, "There is nothing at this path.").WithNext("See /openapi.yaml for what there is."))
	})
	a.engine.NoMethod(func(c *gin.Context) {
		a.refuse(c, v1.NewProblem(v1.CodeMethodNotAllowed, "This path does not take the method %s.", printable(c.Request.Method)).
			WithNext("Use one of: %s.", c.Writer.Header().Get("Allow")))
	})
	a.huma = humagin.New(a.engine, a.document())
	a.registerAll(options.Metrics)
	a.finishDocument()
	return a, nil
}

// addPlain registers a route for reading beside the OpenAPI document.
func (a *api) addPlain(path string, about route, handler gin.HandlerFunc) {
	a.routes[http.MethodGet+" "+path] = &about
	a.engine.GET(path, handler)
}

// answer is what a handler answers. Body or Stream, or neither.
type answer struct {
	status    int
	version   uint64 // becomes the ETag; 0 for none
	location  string
	operation string
	replayed  bool
	index     uint64
	body      []byte // JSON
	stream    func(c *gin.Context)
}

// add registers an operation: huma describes it, reads its parameters and checks its body; the handler answers.
func add[I any](a *api, operation huma.Operation, about route, handler func(ctx context.Context, in *I) (*answer, error)) {
	operation.MaxBodyBytes, operation.BodyReadTimeout = -1, -1 // bounded in check, before huma reads
	operation.Middlewares = append(operation.Middlewares, a.check)
	documentAnswers(&operation, about)
	pattern := strings.ReplaceAll(strings.ReplaceAll(operation.Path, "{", ":"), "}", "")
	a.routes[operation.Method+" "+pattern] = &about
	huma.Register(a.huma, operation, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		given, err := handler(ctx, in)
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			c := humagin.Unwrap(hc)
			if err != nil {
				a.refuse(c, err)
			} else {
				a.write(c, given)
			}
		}}, nil
	})
}

// write sends an answer.
func (a *api) write(c *gin.Context, given *answer) {
	header := c.Writer.Header()
	if given.version != 0 {
		header.Set("ETag", `"`+strconv.FormatUint(given.version, 10)+`"`)
	}
	if given.location != "" {
		header.Set("Location", given.location)
	}
	if given.operation != "" {
		header.Set("Coloa-Operation", given.operation)
	}
	if given.replayed {
		header.Set("Idempotent-Replayed", "true")
	}
	if given.index != 0 {
		header.Set("Coloa-Index", strconv.FormatUint(given.index, 10))
	}
	if given.stream != nil {
		given.stream(c)
		return
	}
	a.extendWrite(c)
	if given.body != nil {
		header.Set("Content-Type", "application/json")
	}
	c.Status(given.status)
	c.Writer.WriteHeaderNow()
	if given.body != nil {
		_, _ = c.Writer.Write(given.body) // the client may be gone
	}
}

// refuse answers with an error's problem document. When the answer has begun, all that is left is to cut it off.
func (a *api) refuse(c *gin.Context, err error) {
	problem := a.toProblem(c.Request.Context(), err)
	if request := requestOf(c.Request.Context()); request != nil && problem.Code == v1.CodeInternal {
		request.reference = problem.Params["reference"]
	}
	c.Abort()
	if c.Writer.Written() {
		panic(http.ErrAbortHandler)
	}
	a.extendWrite(c)
	if problem.Status == http.StatusRequestEntityTooLarge {
		c.Writer.Header().Set("Connection", "close") // the rest of the body is not read
	}
	WriteProblem(c.Writer, problem)
}

// extendWrite gives the client time to take the next piece.
func (a *api) extendWrite(c *gin.Context) {
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(a.limits.WriteTimeout)) // not every transport has deadlines
}

// transform replaces what huma refuses by itself with our problems. It runs for each error of huma and for nothing else: our handlers stream.
func (a *api) transform(ctx huma.Context, _ string, value any) (any, error) {
	model, ok := value.(*huma.ErrorModel)
	if !ok {
		return value, nil
	}
	problem := fromHuma(model)
	if problem == nil {
		problem = a.toProblem(ctx.Context(), errors.New("huma: "+model.Detail))
	}
	if problem.Status != model.Status {
		return nil, errors.New("the status of a huma error changed on its way; check api.check, which should have refused the request first")
	}
	return problem, nil
}

// schema returns the schema of a type, registering it when it is new.
func (a *api) schema(t reflect.Type) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(t, true, "")
}

// decode checks a document against the schema of out's type, and decodes it.
func (a *api) decode(data []byte, out any) error {
	var plain any
	if err := unmarshal(data, &plain); err != nil {
		return malformed("The body cannot be read.")
	}
	path, result := huma.NewPathBuffer(nil, 0), &huma.ValidateResult{}
	huma.Validate(a.huma.OpenAPI().Components.Schemas, a.schema(reflect.TypeOf(out).Elem()), path, huma.ModeWriteToServer, plain, result)
	if len(result.Errors) > 0 {
		return invalid(fieldErrors(result.Errors)...)
	}
	if err := unmarshal(data, out); err != nil {
		var wrong *typeError
		if errors.As(err, &wrong) {
			return invalidField(wrong.field, "%s", wrong.detail())
		}
		return malformed("The body cannot be read.")
	}
	return nil
}
