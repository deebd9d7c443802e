package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// WaitOperation waits until an operation is finished, or stuck (NeedsAttention). progress, when given, is told every state that was seen;
// it is called about once a second. A failed operation is no error here: look at its state.
func (c *Client) WaitOperation(ctx context.Context, id string, progress func(*v1.Operation)) (*v1.Operation, error) {
	wait := "30s"
	if progress != nil {
		// The controller answers at the end alone; steps are seen only between polls.
		wait = "1s"
	}
	pause := 50 * time.Millisecond
	for {
		asked := time.Now()
		answer, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/operations/" + url.PathEscape(id), query: url.Values{"wait": {wait}}})
		if err != nil {
			return nil, err
		}
		operation := new(v1.Operation)
		if err := decode(answer, operation); err != nil {
			return nil, err
		}
		if progress != nil {
			progress(operation)
		}
		if operation.Status.State.Finished() || operation.Status.State == v1.OperationNeedsAttention {
			return operation, nil
		}
		// A controller that does not hold the request must not be asked in a busy loop.
		if rest := pause - time.Since(asked); rest > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(rest):
			}
		}
		pause = min(pause*2, time.Second)
	}
}
