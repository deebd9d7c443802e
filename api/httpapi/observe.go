package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of this package. Routes are patterns, never paths: what clients write cannot make new series.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	limited  *prometheus.CounterVec
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coloa_http_requests_total", Help: "Requests answered, by method, route and status."}, []string{"method", "route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "coloa_http_request_seconds", Help: "Time to answer; streams and waits are left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"method", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "coloa_http_in_flight", Help: "Requests being answered, streams included."}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coloa_http_rate_limited_total", Help: "Requests refused for their rate, by what was counted: token, address or streams."}, []string{"by"}),
	}
	for _, collector := range []prometheus.Collector{m.requests, m.duration, m.inFlight, m.limited} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("httpapi: register metrics (give each handler its own registry): %w", err)
		}
	}
	return m, nil
}

var requestIDForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// observe is the outermost middleware: it names the request, counts and logs it, and catches panics. Bodies, tokens and queries are never logged.
func (a *api) observe(c *gin.Context) {
	begun := time.Now()
	request := &request{gin: c, id: reference(), address: addressOf(c.Request.RemoteAddr), peer: fromPeer(c.Request.Context())}
	if request.peer {
		if id := c.Request.Header.Get(HeaderRequestID); requestIDForm.MatchString(id) {
			request.id = id
		}
		// An invalid address stays unknown: the other controller did not know it either.
		request.address, _ = netip.ParseAddr(c.Request.Header.Get(HeaderClientAddress))
	}
	c.Request.Header.Del(HeaderRequestID)
	c.Request.Header.Del(HeaderClientAddress)
	pattern, method := "none", "other"
	if request.route = a.routes[c.Request.Method+" "+c.FullPath()]; request.route != nil {
		pattern, method = c.FullPath(), c.Request.Method
	}
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), requestKey, request))
	setStandardHeaders(c.Writer.Header())
	c.Writer.Header().Set(HeaderRequestID, request.id)
	if a.version != "" {
		c.Writer.Header().Set("Server", "coloa/"+a.version)
	}
	a.metrics.inFlight.Inc()
	defer func() {
		aborted := a.rescue(c, request, recover())
		for _, release := range request.release {
			release()
		}
		a.metrics.inFlight.Dec()
		if c.Request.ContentLength != 0 {
			// Of a body that was not read, net/http reads on for a while before it uses the connection again.
			_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(a.limits.BodyTimeout))
		}
		status := c.Writer.Status()
		took := time.Since(begun)
		a.metrics.requests.WithLabelValues(method, pattern, strconv.Itoa(status)).Inc()
		if request.route != nil && !request.route.stream && request.route.body != bodyUpload {
			a.metrics.duration.WithLabelValues(method, pattern).Observe(took.Seconds())
		}
		a.logRequest(c, request, method, pattern, status, took)
		if aborted {
			panic(http.ErrAbortHandler) // net/http cuts the connection; anything else would look like a whole answer
		}
	}()
	c.Next()
}

// rescue answers for a handler that panicked. It returns true when the answer had begun, so that only cutting it off is left.
func (a *api) rescue(c *gin.Context, request *request, panicked any) (aborted bool) {
	if panicked == nil {
		return false
	}
	c.Abort()
	if cause, ok := panicked.(error); !ok || !errors.Is(cause, http.ErrAbortHandler) {
		request.reference = reference()
		a.logger.ErrorContext(c.Request.Context(), "panic", "reference", request.reference, "request", request.id, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
		if !c.Writer.Written() {
			WriteProblem(c.Writer, internalProblem(request.reference))
			return false
		}
	}
	return true
}

func (a *api) logRequest(c *gin.Context, request *request, method, pattern string, status int, took time.Duration) {
	attributes := []slog.Attr{
		slog.String("request", request.id), slog.String("method", method), slog.String("route", pattern), slog.Int("status", status),
		slog.Duration("took", took), slog.Int("bytes", max(0, c.Writer.Size())), slog.String("client", request.address.String()),
	}
	if user := request.caller.User; user != nil {
		attributes = append(attributes, slog.String("user", user.ID))
	}
	if request.peer {
		attributes = append(attributes, slog.Bool("peer", true))
	}
	if request.forwarded {
		attributes = append(attributes, slog.Bool("forwarded", true))
	}
	if request.reference != "" {
		attributes = append(attributes, slog.String("reference", request.reference))
	}
	level := slog.LevelInfo
	if request.route != nil && request.route.public && request.route.reads == readsNothing {
		level = slog.LevelDebug // probes come every few seconds
	}
	if status >= 500 {
		level = slog.LevelWarn
	}
	a.logger.LogAttrs(c.Request.Context(), level, "request", attributes...)
}
