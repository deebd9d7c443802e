package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file sends requests: which controller, how often, and how long.

const (
	maxAnswerBytes  = 64 << 20 // a page of 1000 objects is far smaller
	maxProblemBytes = 1 << 20
)

// call is one request, in a form that can be sent again.
type call struct {
	method string
	path   string // already escaped
	query  url.Values
	header http.Header
	body   []byte
	// open makes a body that is too large to keep; it is called once an attempt. size is its length in bytes.
	open func() io.Reader
	size int64
	// stream: the answer's body is handed on, and only its beginning is under a deadline.
	stream bool
	// once: never repeated after it may have reached a controller (its answer cannot be given twice).
	once bool
}

// answer is what came back with a status below 300.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	stream   io.ReadCloser
	attempts int
	unsure   bool // an earlier attempt may have been carried out
}

var errTooSlow = errors.New("it did not answer in time")

// failure is an attempt that led to nothing.
type failure struct {
	err       error
	reached   bool // the controller may have acted on it
	retry     bool
	after     time.Duration // what the controller asked for
	elsewhere bool          // another endpoint may do better
}

// do sends a call until it is answered, it is unsafe or useless to go on, or the time for repeating is over. The answer is never nil: beside an
// error it tells how the attempts before went.
func (c *Client) do(ctx context.Context, call call) (*answer, error) {
	if call.header == nil {
		call.header = http.Header{}
	}
	if call.method == http.MethodPost && call.header.Get("Idempotency-Key") == "" {
		call.header.Set("Idempotency-Key", NewKey())
	}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = 100*time.Millisecond, 3*time.Second
	started, unsure, sinceWait := time.Now(), false, 0
	for attempt := 1; ; attempt++ {
		index := c.first()
		result, failed := c.attempt(ctx, c.endpoints[index], call)
		if failed == nil {
			result.attempts, result.unsure = attempt, unsure
			return result, nil
		}
		if ctx.Err() != nil {
			return &answer{attempts: attempt, unsure: unsure || failed.reached}, ctx.Err()
		}
		refused := &answer{attempts: attempt, unsure: unsure}
		unsure = unsure || failed.reached
		if failed.elsewhere && len(c.endpoints) > 1 {
			c.preferred.CompareAndSwap(int64(index), int64((index+1)%len(c.endpoints)))
		}
		if !failed.retry || failed.reached && !call.repeatable() {
			return refused, failed.err
		}
		// Every endpoint is asked once before the first wait.
		sinceWait++
		if failed.elsewhere && failed.after == 0 && sinceWait < len(c.endpoints) {
			continue
		}
		sinceWait = 0
		wait := max(waits.NextBackOff(), failed.after)
		if time.Since(started)+wait > c.options.RetryFor {
			return refused, failed.err
		}
		if c.options.OnRetry != nil {
			c.options.OnRetry(failed.err, wait)
		}
		select {
		case <-ctx.Done():
			return refused, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// repeatable says whether sending the call twice does no more than sending it once. A POST carries its Idempotency-Key. A change under
// If-Match is not: when the first attempt was carried out, the second would be refused and look like somebody else's change.
func (c *call) repeatable() bool {
	return !c.once && c.header.Get("If-Match") == ""
}

func (c *Client) attempt(ctx context.Context, endpoint *url.URL, call call) (*answer, *failure) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := func() { cancel(nil) }
	connected := false
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	request, err := c.request(traced, endpoint, call)
	if err != nil {
		done()
		return nil, &failure{err: err}
	}
	// An upload may take as long as it goes on; its connection is watched by the transport.
	var watch *time.Timer
	if call.open == nil {
		watch = time.AfterFunc(c.options.RequestTimeout, func() { cancel(errTooSlow) })
		defer watch.Stop()
	}
	response, err := c.http.Do(request)
	if err != nil {
		if errors.Is(context.Cause(ctx), errTooSlow) {
			err = errTooSlow
		}
		done()
		return nil, &failure{err: c.connectError(err), reached: connected && !isTrust(err), retry: !isTrust(err), elsewhere: true}
	}
	if response.StatusCode >= 300 {
		defer done()
		return nil, refusal(response)
	}
	result := &answer{status: response.StatusCode, header: response.Header}
	if call.stream {
		result.stream = &streamBody{ReadCloser: response.Body, cancel: done}
		return result, nil
	}
	defer done()
	defer response.Body.Close()
	result.body, err = readBounded(response.Body, maxAnswerBytes)
	if err != nil {
		return nil, &failure{err: c.connectError(err), reached: true, retry: true, elsewhere: true}
	}
	return result, nil
}

func (c *Client) request(ctx context.Context, endpoint *url.URL, call call) (*http.Request, error) {
	var body io.Reader
	switch {
	case call.open != nil:
		body = call.open()
	case call.body != nil:
		body = bytes.NewReader(call.body)
	}
	address := *endpoint
	request, err := http.NewRequestWithContext(ctx, call.method, address.String()+call.path, body)
	if err != nil {
		return nil, fmt.Errorf("the request to %s cannot be formed: %w", endpoint.Host, err)
	}
	request.URL.RawQuery = call.query.Encode()
	request.Header = call.header.Clone()
	if call.open != nil {
		request.ContentLength = call.size
	}
	if call.body != nil && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "application/json")
	}
	if c.options.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.options.Token)
	}
	if c.options.UserAgent != "" {
		request.Header.Set("User-Agent", c.options.UserAgent)
	}
	return request, nil
}

// refusal reads a status of 300 and above.
func refusal(response *http.Response) *failure {
	defer response.Body.Close()
	problem := decodeProblem(response)
	result := &failure{err: problem, after: retryAfter(response.Header.Get("Retry-After"), time.Now())}
	switch response.StatusCode {
	case http.StatusTooManyRequests:
		result.retry = true
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		// Not ours: something between us and the controller answered.
		result.retry, result.reached, result.elsewhere = problem.Code != v1.CodeTimeout, true, true
	case http.StatusServiceUnavailable:
		result.retry, result.elsewhere = true, true
		result.reached = problem.Code == v1.CodeOutcomeUnknown
	}
	return result
}

// decodeProblem makes a problem of any refusal, also of one that a proxy wrote.
func decodeProblem(response *http.Response) *v1.Problem {
	body, _ := readBounded(response.Body, maxProblemBytes)
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return problemFrom(response.StatusCode, media, body)
}

func problemFrom(status int, media string, body []byte) *v1.Problem {
	var problem v1.Problem
	if media == "application/problem+json" && json.Unmarshal(body, &problem) == nil && problem.Code != "" {
		problem.Status = status
		return &problem
	}
	code := v1.CodeInternal
	switch status {
	case http.StatusUnauthorized:
		code = v1.CodeUnauthenticated
	case http.StatusForbidden:
		code = v1.CodeDenied
	case http.StatusNotFound:
		code = v1.CodeNotFound
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		code = v1.CodeUnavailable
	case http.StatusGatewayTimeout:
		code = v1.CodeOutcomeUnknown
	case http.StatusRequestEntityTooLarge:
		code = v1.CodeTooLarge
	}
	made := v1.NewProblem(code, "the answer %d %s did not come from a Coloa controller", status, http.StatusText(status)).
		WithNext("Check that the endpoint is a controller and that no proxy stands between.")
	made.Status = status
	return made
}

// retryAfter reads seconds or a date; it never asks for more than a minute.
func retryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && !math.IsInf(seconds, 0) {
		return time.Duration(min(seconds, 60) * float64(time.Second))
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), time.Minute)
	}
	return 0
}

func readBounded(from io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err == nil && int64(len(body)) > limit {
		return nil, fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return body, err
}

// streamBody ends its request when it is closed.
type streamBody struct {
	io.ReadCloser
	cancel func()
}

func (b *streamBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// isTrust says that the other side could not prove who it is: trying again changes nothing.
func isTrust(err error) bool {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	return errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &verification)
}

// plainCause drops the method and address that net/http writes in front of every error.
func plainCause(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// NewKey makes an Idempotency-Key: a UUID version 7 (RFC 9562).
func NewKey() string {
	var key [16]byte
	if _, err := rand.Read(key[:]); err != nil {
		panic("the system has no random numbers: " + err.Error())
	}
	now := uint64(time.Now().UnixMilli())
	for i := range 6 {
		key[i] = byte(now >> (40 - 8*i))
	}
	key[6] = key[6]&0x0f | 0x70
	key[8] = key[8]&0x3f | 0x80
	text := hex.EncodeToString(key[:])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}
