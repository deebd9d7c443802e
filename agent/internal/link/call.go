package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// maximumProblem bounds how much of an error's answer is read.
const maximumProblem = 64 << 10

// post sends in as JSON and decodes the answer into out. errRegister for 409.
func (l *Link) post(ctx context.Context, address, path string, in, out any, within time.Duration) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, status, err := l.exchange(ctx, http.MethodPost, address, path, body, within, hostv1.MaxBody)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("controller %s: %s: unexpected status %d", address, path, status)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("controller %s: %s: cannot read the answer: %w", address, path, err)
	}
	return nil
}

// exchange makes one request and reads the whole answer, at most limit bytes. It returns an error for every status of 400 and above, and leaves the
// controller for the next one when the fault may be its own.
func (l *Link) exchange(ctx context.Context, method, address, target string, body []byte, within time.Duration, limit int64) ([]byte, int, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	response, err := l.send(ctx, method, address, target, body)
	if err != nil {
		l.failed(ctx, address)
		return nil, 0, fmt.Errorf("controller %s: %w", address, err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	if response.StatusCode >= http.StatusBadRequest {
		return nil, response.StatusCode, l.refusal(ctx, address, target, response)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err == nil && int64(len(answer)) > limit {
		err = fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	if err != nil {
		l.failed(ctx, address)
		return nil, 0, fmt.Errorf("controller %s: %s: %w", address, target, err)
	}
	l.connected.Store(true)
	return answer, response.StatusCode, nil
}

func (l *Link) send(ctx context.Context, method, address, target string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "https://"+address+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	return l.client.Do(request)
}

// refusal turns an answer of 400 and above into an error.
func (l *Link) refusal(ctx context.Context, address, target string, response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, maximumProblem)) // an unreadable explanation is no explanation
	problem := &v1.Problem{}
	if json.Unmarshal(text, problem) != nil || problem.Code == "" {
		problem = v1.NewProblem(v1.CodeUnavailable, "status %d", response.StatusCode)
	}
	if response.StatusCode == http.StatusConflict {
		return fmt.Errorf("controller %s: %s: %w: %w", address, target, errRegister, problem)
	}
	l.failed(ctx, address)
	return fmt.Errorf("controller %s: %s: %w", address, target, problem)
}

func (l *Link) failed(ctx context.Context, address string) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return // we are ending; the controller is not to blame
	}
	l.connected.Store(false)
	l.leave(address)
}
